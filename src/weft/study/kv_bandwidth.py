"""Study `kv-bandwidth`: the link that a KV cache needs, by the paper's equations 1 to 3, up to 128K prompt tokens.

    KV         = 2 · layers · d_model · (kv_heads / heads) · ISL · batch · bytes per element        (3)
    BW_egress  = KV / (TTFT · N_prefill)     the cache leaves while the prompt is processed         (1)
    BW_ingress = KV / (TBT · N_decode)       the cache arrives within one gap between tokens        (2)

The catalogue knows the exact cache of each model; equation 3 is shown beside it, because it is wrong for models with a
latent cache or with heads that are not d_model / heads wide.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from weft import catalog
from weft.core.model import ModelSpec
from weft.core.units import GIGA, Precision
from weft.core.workload import Slo

LENGTHS = tuple(2**power for power in range(9, 18))
"""512 to 131,072 prompt tokens."""
LINKS_GBPS = (200.0, 400.0)
REPLICA = 8
"""Devices of one scale-up domain, each with one link."""
PRECISIONS = (Precision.FP16, Precision.FP8)
CLAIMED_TOKENS = 32_768


@dataclass(frozen=True, slots=True)
class Row:
    """One prompt. Gbps are those of a single device; `devices_*` how many links of 200 and 400 Gbps carry it."""

    model: str
    precision: Precision
    isl: int
    within_context: bool
    kv_bytes: float
    equation_3_bytes: float
    egress_gbps: float
    ingress_gbps: float
    prefill_devices_200: int
    prefill_devices_400: int
    decode_devices_200: int
    decode_devices_400: int
    handoff_s_400: float


def rows(slo: Slo, models: Sequence[ModelSpec] | None = None) -> list[Row]:
    """Every model × precision × length, with the objective's TTFT and TPOT as time limits."""
    chosen = list(catalog.models().values()) if models is None else models
    return [
        _row(model, precision, isl, slo)
        for model in chosen
        for precision in PRECISIONS
        for isl in LENGTHS
        if isl <= max(model.context, CLAIMED_TOKENS)
    ]


def equation_3_bytes(model: ModelSpec, precision: Precision, isl: int, batch: int = 1) -> float:
    share = model.kv_heads / model.heads
    return 2.0 * model.layers * model.d_model * share * isl * batch * precision.bytes_per_element


def longest_tokens(model: ModelSpec, precision: Precision, within_s: float, devices: int, link_gbps: float) -> int:
    """The longest prompt whose cache `devices` links carry in `within_s`."""
    return math.floor(devices * link_gbps * GIGA / 8 * within_s / model.kv_bytes_per_token(precision))


def egress_share(found: Sequence[Row], tokens: int) -> tuple[int, int]:
    """(cells whose cache leaves over one 400 Gbps link, cells) up to `tokens` within the models' contexts."""
    asked = [row for row in found if row.isl <= tokens and row.within_context]
    return sum(row.prefill_devices_400 <= 1 for row in asked), len(asked)


def ingress_share(found: Sequence[Row], tokens: int, devices: int) -> tuple[int, int]:
    """The same for arrival within one token gap over `devices` links of 400 Gbps."""
    asked = [row for row in found if row.isl <= tokens and row.within_context]
    return sum(row.decode_devices_400 <= devices for row in asked), len(asked)


def wrong_by_equation_3(found: Sequence[Row]) -> Iterator[tuple[str, float]]:
    """(model, equation 3 ÷ exact) where they differ by more than 5 %, the worst first."""
    ratios = {row.model: row.equation_3_bytes / row.kv_bytes for row in found}
    wrong = [(model, ratio) for model, ratio in ratios.items() if abs(ratio - 1) > 0.05]
    yield from sorted(wrong, key=lambda each: -abs(math.log(each[1])))


def _row(model: ModelSpec, precision: Precision, isl: int, slo: Slo) -> Row:
    assert slo.ttft_s is not None
    assert slo.tpot_s is not None
    kv_bytes = isl * model.kv_bytes_per_token(precision)
    egress, ingress = (8 * kv_bytes / limit_s / GIGA for limit_s in (slo.ttft_s, slo.tpot_s))
    needed = [math.ceil(rate / link) for rate in (egress, ingress) for link in LINKS_GBPS]
    return Row(
        model.id,
        precision,
        isl,
        isl <= model.context,
        kv_bytes,
        equation_3_bytes(model, precision, isl),
        egress,
        ingress,
        *needed,
        handoff_s_400=8 * kv_bytes / (400 * GIGA),
    )
