"""Study `scaling`: latency against tensor and pipeline parallelism, and where communication wins.

One prompt of 4,096 tokens, and one decode step of 32 sequences that hold 4,096 tokens each. Up to the scale-up domain
the all-reduces run inside it, beyond it over the network. Sizes whose weights do not fit are computed all the same and
marked.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from weft import catalog
from weft.core.deployment import Parallelism
from weft.core.hardware import Device, Link
from weft.core.model import ModelSpec
from weft.core.units import Precision
from weft.cost.collectives import scale_up_devices
from weft.cost.memory import replica_bytes, usable_bytes
from weft.study.physics import Timing, decode_estimate, engine, prefill_estimate
from weft.study.space import EXTENSION_DEVICES, MODELS, PAPER_DEVICES, PRECISIONS, Question
from weft.study.sweep import Phase

TENSOR_PARALLEL = (1, 2, 4, 8, 16, 32)
PIPELINE_PARALLEL = (1, 2, 4, 8)
TOKENS, DECODE_BATCH = 4096, 32


@dataclass(frozen=True, slots=True)
class Row:
    """One replica size. `communication_s` is the part of `latency_s` that messages take."""

    device: str
    model: str
    precision: Precision
    phase: Phase
    tp: int
    pp: int
    latency_s: float
    communication_s: float
    fits: bool
    inside_domain: bool
    provenance: str

    @property
    def device_s(self) -> float:
        return self.latency_s * self.tp * self.pp


@dataclass(frozen=True, slots=True)
class Turn:
    """Where more tensor parallelism stops to pay: the fastest tp, how much slower the next larger one is (1: there is
    none), and whether that one still stays inside the scale-up domain."""

    device: str
    model: str
    precision: Precision
    phase: Phase
    fastest_tp: int
    speedup: float
    slowdown_beyond: float
    inside_domain: bool


def rows(link_name: str = "roce-400g", names: Sequence[str] = (*PAPER_DEVICES, *EXTENSION_DEVICES)) -> list[Row]:
    link = catalog.link(link_name)
    return [
        row
        for name in names
        for model in MODELS
        for precision in PRECISIONS
        for phase in Phase
        for row in _curve(catalog.device(name), catalog.model(model), precision, phase, link)
    ]


def turns(found: Sequence[Row]) -> list[Turn]:
    """One a device, model, precision and phase, over tensor parallelism alone."""
    curves: dict[tuple[str, str, Precision, Phase], list[Row]] = {}
    for row in found:
        if row.pp == 1:
            curves.setdefault((row.device, row.model, row.precision, row.phase), []).append(row)
    return [_turn(curve) for curve in curves.values()]


def _turn(curve: Sequence[Row]) -> Turn:
    best = min(curve, key=lambda row: row.latency_s)
    beyond = [row for row in curve if row.tp > best.tp]
    slowdown = beyond[0].latency_s / best.latency_s if beyond else 1.0
    speedup = curve[0].latency_s / best.latency_s
    inside = bool(beyond) and beyond[0].inside_domain
    return Turn(best.device, best.model, best.precision, best.phase, best.tp, speedup, slowdown, inside)


def _curve(device: Device, model: ModelSpec, precision: Precision, phase: Phase, link: Link) -> Iterator[Row]:
    if precision not in device.flops_per_s:
        return
    question = Question(model, precision, TOKENS, 1)
    sizes = [Parallelism(tp=tp) for tp in TENSOR_PARALLEL if model.heads % tp == 0]
    sizes += [Parallelism(pp=pp) for pp in PIPELINE_PARALLEL[1:] if model.layers % pp == 0]
    for size in sizes:
        replica = engine(model, precision, device, size, link)
        decoding = phase is Phase.DECODE
        estimate = decode_estimate(replica, TOKENS, DECODE_BATCH) if decoding else prefill_estimate(replica, TOKENS)
        yield _row(question, device, phase, size, estimate)


def _row(question: Question, device: Device, phase: Phase, size: Parallelism, estimate: Timing) -> Row:
    batch, in_flight = (1, TOKENS) if phase is Phase.PREFILL else (DECODE_BATCH, DECODE_BATCH)
    needs = replica_bytes(question.model, question.precision, size, batch, TOKENS, in_flight)
    return Row(
        device.id,
        question.model.id,
        question.precision,
        phase,
        size.tp,
        size.pp,
        float(estimate.latency_s),
        float(estimate.communication_s),
        needs <= usable_bytes(device),
        size.devices <= scale_up_devices(device),
        estimate.provenance,
    )
