"""Study `tco`: the paper's Figures 8 and 9 for every ordered pair of devices, and the verdict on its six claims."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

from weft import catalog
from weft.core.errors import CatalogError
from weft.core.hardware import Device
from weft.cost.sensitivity import Swing
from weft.cost.tco import usd_per_hour
from weft.study import catalogue, compare, kv_bandwidth, scaling, sensitivity
from weft.study.claims import Claim
from weft.study.claims_pairs import claim_1, claim_2, claim_3, table
from weft.study.claims_parts import claim_4, claim_5, claim_6
from weft.study.pairs import Cell, Half, Progress, Row, rows, sweep
from weft.study.space import FINANCES, Space, short

Json = Mapping[str, object]
AGAINST = ("h100-sxm", "b200")


@dataclass(frozen=True, slots=True)
class TcoStudy:
    space: Space
    rows: Sequence[Row]
    claims: Sequence[Claim]
    swings: Mapping[str, Sequence[Swing]]
    beside_measured: Sequence[compare.Line]

    @property
    def priced(self) -> Sequence[Row]:
        return [row for row in self.rows if row.tokens_per_usd is not None]

    @property
    def provenance(self) -> str:
        """Where the step times come from, over all rows."""
        halves = (half for row in self.priced for half in (row.prefill, row.decode) if half)
        return ", ".join(sorted({half.provenance for half in halves}))


def run(space: Space | None = None, progress: Progress | None = None) -> TcoStudy:
    """Everything the study says, without writing anything."""
    asked = space or Space()
    swept = sweep(asked, progress)
    found = rows(asked, swept)
    swings = {name: sensitivity.swings(name) for name in AGAINST}
    return TcoStudy(asked, found, claims(found), swings, compare.lines(swept))


def claims(found: Sequence[Row]) -> tuple[Claim, ...]:
    pairs = table(found)
    return (
        claim_1(pairs),
        claim_2(pairs),
        claim_3(pairs),
        claim_4(scaling.rows()),
        claim_5(kv_bandwidth.rows(catalog.slo("interactive"))),
        claim_6(catalogue.rows()),
    )


def to_json(study: TcoStudy) -> Json:
    """The schema of `weft study tco --json`."""
    return {
        "rows": [row_json(row) for row in study.rows],
        "claims": [asdict(claim) for claim in study.claims],
        "inputs": asdict(study.space) | {"provenance": study.provenance},
    }


def row_json(row: Row) -> Json:
    """`ttft_s`, `tpot_s`, `tokens_per_usd` and `benefit` are null where `reason` says why."""
    cell = row.cell
    return {
        "pair": row.pair,
        "model": cell.model,
        "precision": cell.precision,
        "isl": cell.isl,
        "osl": cell.osl,
        "sla": cell.sla,
        "finance": cell.finance,
        "catalogue": cell.catalogue,
        "prefill": row.prefill and _half_json(row.prefill),
        "decode": row.decode and _half_json(row.decode),
        "ttft_s": row.prefill and row.prefill.latency_s,
        "tpot_s": row.decode and row.decode.latency_s,
        "tokens_per_usd": row.tokens_per_usd,
        "benefit": row.benefit,
        "energy_j_per_token": row.energy_j_per_token,
        "reason": row.reason,
    }


def _half_json(half: Half) -> Json:
    return {
        "device": half.device,
        "tp": half.parallelism.tp,
        "pp": half.parallelism.pp,
        "batch": half.batch,
        "device_s_per_request": half.device_s_per_request,
        "usd_per_hour": half.usd_per_hour,
        "link_bound": half.link_bound,
        "provenance": half.provenance,
    }


def price_table(space: Space) -> list[tuple[str, ...]]:
    """$/h of every device of the default catalogue under each finance, or `not priced`."""
    return [
        (short(device.id), *(_price(device, name) for name in space.finances_of("default")))
        for device in space.devices_of("default")
    ]


def best_table(found: Sequence[Row]) -> list[tuple[str, ...]]:
    """The best pair of every cell of the default catalogue, with its replicas, beside B200::Gaudi 3."""
    cells: dict[Cell, list[Row]] = {}
    for row in found:
        if row.benefit is not None and row.cell.catalogue == "default":
            cells.setdefault(row.cell, []).append(row)
    return [_best_line(cell, pairs) for cell, pairs in cells.items() if cell.finance in FINANCES]


def winners(found: Sequence[Row], finance: str) -> Mapping[str, int]:
    """In how many cells of the default catalogue each pair of the paper's devices is the best, the most first."""
    cells = table(found, (finance,))
    best = [max(pairs, key=lambda pair: pairs[pair].tokens_per_usd or 0.0) for cell, pairs in cells.items()
            if cell.catalogue == "default"]  # fmt: skip
    return dict(Counter(best).most_common())


def unpriced(found: Sequence[Row]) -> list[str]:
    """`H200 under paper, owned`"""
    missing: dict[str, dict[str, None]] = {}
    for row in found:
        for part in row.reason.split("; "):
            if "not priced" in part:
                missing.setdefault(part.split(" on ")[1].split(":")[0], {})[row.cell.finance] = None
    return [f"{device} under {', '.join(finances)}" for device, finances in missing.items()]


def link_bound(row: Row) -> bool:
    return any(half and half.link_bound for half in (row.prefill, row.decode))


def _price(device: Device, finance: str) -> str:
    try:
        return f"{usd_per_hour(device, catalog.finance(finance)):.2f}"
    except CatalogError:
        return "not priced"


def _best_line(cell: Cell, pairs: Sequence[Row]) -> tuple[str, ...]:
    best = max(pairs, key=lambda row: row.benefit or 0.0)
    asked = next((row for row in pairs if row.pair == "B200::Gaudi 3"), None)
    return (
        f"{short(cell.model)} {cell.precision.upper()}",
        f"{cell.isl}/{cell.osl}",
        cell.sla,
        cell.finance,
        best.pair,
        f"{best.benefit or 0:.2f}",
        _replica(best.prefill),
        _replica(best.decode),
        f"{asked.benefit:.2f}" if asked and asked.benefit else "cannot",
    )


def _replica(half: Half | None) -> str:
    return f"TP{half.parallelism.tp} PP{half.parallelism.pp} batch {half.batch}" if half else ""
