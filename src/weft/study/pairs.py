"""Every ordered pair A::B in every cell of the TCO study: its tokens per dollar, and its benefit over H100::H100.

Pools are balanced: for each request, prefill and decode take the device-seconds that their best replicas need, and
both are paid. Output tokens per dollar = osl ÷ (what prefill, decode and the KV transfer of one request cost).
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from weft import catalog
from weft.core.deployment import Parallelism
from weft.core.errors import CatalogError
from weft.core.hardware import Device, Finance, Link
from weft.core.units import HOUR_S, Precision
from weft.core.workload import Slo
from weft.cost.energy import request_energy_j
from weft.cost.tco import usd_per_hour
from weft.cost.transfer import transfer_usd
from weft.study.space import BASELINE, Question, Space, pair_name, short
from weft.study.sweep import Answer, Choice, Phase, Refusal, answers

Progress = Callable[[int, int], None]
"""(done, total) of the sweeps."""


@dataclass(frozen=True, slots=True)
class Cell:
    """What is equal for all pairs that are compared with one another."""

    catalogue: str
    finance: str
    model: str
    precision: Precision
    isl: int
    osl: int
    sla: str


@dataclass(frozen=True, slots=True)
class Half:
    """One side of a pair: the replica, and what a request takes of it."""

    device: str
    parallelism: Parallelism
    batch: int
    latency_s: float
    device_s_per_request: float
    usd_per_hour: float
    link_bound: bool
    provenance: str

    @property
    def usd_per_request(self) -> float:
        return self.device_s_per_request * self.usd_per_hour / HOUR_S


@dataclass(frozen=True, slots=True)
class Row:
    """One pair in one cell. All but `reason` is None where the pair cannot be priced there; `benefit` also where
    the baseline cannot."""

    pair: str
    cell: Cell
    prefill: Half | None = None
    decode: Half | None = None
    tokens_per_usd: float | None = None
    energy_j_per_token: float | None = None
    benefit: float | None = None
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Swept:
    """The best replicas of one catalogue's devices for one question."""

    catalogue: str
    question: Question
    devices: tuple[Device, ...]
    answers: Mapping[str, Mapping[tuple[str, Phase], Answer]]


def sweep(space: Space, progress: Progress | None = None) -> tuple[Swept, ...]:
    """The expensive half: TP × PP × batch of every device for every question. Money plays no part in it."""
    total = sum(len(space.devices_of(name)) for name in space.catalogues) * len(space.questions())
    done = 0
    swept: list[Swept] = []
    for catalogue in space.catalogues:
        devices = space.devices_of(catalogue)
        for question in space.questions():
            swept.append(sweep_question(catalogue, question, devices, space.objectives_asked(), space.kv_link()))
            done += len(devices)
            if progress:
                progress(done, total)
    return tuple(swept)


def sweep_question(
    catalogue: str, question: Question, devices: Sequence[Device], objectives: tuple[Slo, ...], link: Link
) -> Swept:
    found = {device.id: answers(question, device, objectives, link) for device in devices}
    return Swept(catalogue, question, tuple(devices), found)


def rows(space: Space, swept: Sequence[Swept]) -> list[Row]:
    """All ordered pairs of all cells, in the order of the space."""
    link = space.kv_link()
    return [
        row
        for each in swept
        for name in space.finances_of(each.catalogue)
        for objective in space.objectives
        for row in cell_rows(each, catalog.finance(name), objective, link)
    ]


def cell_rows(swept: Swept, finance: Finance, objective: str, link: Link) -> list[Row]:
    question = swept.question
    sizes = (question.isl, question.osl)
    cell = Cell(swept.catalogue, finance.name, question.model.id, question.precision, *sizes, objective)
    halves = {phase: dict(_halves(swept, finance, objective, phase)) for phase in Phase}
    made = [
        _row(cell, swept, pair_name(first.id, second.id), halves[Phase.PREFILL][first.id], other, link)
        for first in swept.devices
        for second in swept.devices
        for other in (halves[Phase.DECODE][second.id],)
    ]
    return list(_with_benefit(made))


def _halves(swept: Swept, finance: Finance, objective: str, phase: Phase) -> Iterator[tuple[str, Half | Refusal]]:
    for device in swept.devices:
        yield device.id, _half(swept.answers[device.id][objective, phase], device, finance)


def _half(answer: Answer, device: Device, finance: Finance) -> Half | Refusal:
    if isinstance(answer, Refusal):
        return answer
    try:
        price = usd_per_hour(device, finance)
    except CatalogError as unpriced:
        return Refusal(device.id, f"not priced: {unpriced.problem}")
    return _priced(answer, price)


def _priced(choice: Choice, price: float) -> Half:
    return Half(
        choice.device,
        choice.parallelism,
        choice.batch,
        choice.latency_s,
        choice.device_s_per_request,
        price,
        choice.link_bound,
        choice.provenance,
    )


def _row(cell: Cell, swept: Swept, pair: str, prefill: Half | Refusal, decode: Half | Refusal, link: Link) -> Row:
    refused = [
        f"{phase} on {short(half.device)}: {half.reason}"
        for phase, half in ((Phase.PREFILL, prefill), (Phase.DECODE, decode))
        if isinstance(half, Refusal)
    ]
    if isinstance(prefill, Refusal) or isinstance(decode, Refusal):
        return Row(pair, cell, reason="; ".join(refused))
    moved_usd = transfer_usd(swept.question.kv_bytes, link)
    usd = prefill.usd_per_request + decode.usd_per_request + moved_usd
    energy_j = _energy_j(cell, swept.devices, (prefill, decode))
    return Row(pair, cell, prefill, decode, cell.osl / usd, energy_j and energy_j / cell.osl)


def _energy_j(cell: Cell, devices: Sequence[Device], halves: Sequence[Half]) -> float | None:
    """At full power while busy. None where the catalogue has no TDP."""
    by_id = {device.id: device for device in devices}
    shares = tuple((by_id[half.device], half.device_s_per_request) for half in halves)
    if any(device.tdp_w is None for device, _ in shares):
        return None
    return request_energy_j(shares, catalog.finance(cell.finance).pue)


def _with_benefit(made: Sequence[Row]) -> Iterator[Row]:
    baseline = pair_name(BASELINE, BASELINE)
    base = next((row.tokens_per_usd for row in made if row.pair == baseline), None)
    for row in made:
        if row.tokens_per_usd is None or base is None:
            yield row if row.reason else replace(row, reason=f"{baseline} is not possible here")
        else:
            yield replace(row, benefit=row.tokens_per_usd / base)
