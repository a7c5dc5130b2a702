"""Claims 4 to 6 of the paper: tensor parallelism, KV links, and what a unit of each resource costs."""

from collections.abc import Iterable, Sequence

from weft import catalog
from weft.core.units import Precision
from weft.study import catalogue, kv_bandwidth, scaling
from weft.study.claims import Claim, Verdict, verdict
from weft.study.evidence import Run, of_kind
from weft.study.space import MODELS, short
from weft.study.sweep import Phase

REFERENCE = "h100-sxm"


def claim_4(found: Sequence[scaling.Row]) -> Claim:
    turns = scaling.turns(found)
    cut = [turn for turn in turns if turn.speedup > 1.1]
    lost = [turn for turn in turns if turn.slowdown_beyond > 1.0]
    inside = [turn for turn in lost if turn.inside_domain]
    part = sum(turn.speedup > 1.1 and turn.slowdown_beyond > 1.0 for turn in turns) / len(turns)
    return Claim(
        4,
        "Tensor parallelism first pays, then communication wins",
        "more tensor parallelism first cuts latency, then loses to communication",
        verdict(part),
        part,
        len(turns),
        f"latency falls first in {len(cut)} of {len(turns)} curves and rises again in {len(lost)}, "
        f"{len(inside)} of them inside the scale-up domain",
        (
            (
                f"Latency falls first in {len(cut)} of {len(turns)} curves (device × model × precision × phase) and "
                "rises "
                "again "
                f"by TP 32 in {len(lost)}; inside the scale-up domain it rises in {len(inside)}: there more devices "
                "only "
                "pay "
                "less and less."
            ),
            *_talk(found),
            *_price_of_speed(found),
        ),
        _depends_4(turns),
        tuple(_measured_tp()),
    )


def claim_5(found: Sequence[kv_bandwidth.Row]) -> Claim:
    """The two Llama 3 models of the paper, whatever their context."""
    asked = [row for row in found if row.model in MODELS and row.isl <= kv_bandwidth.CLAIMED_TOKENS]
    out = [row for row in asked if row.prefill_devices_400 <= 1]
    one = [row for row in asked if row.decode_devices_400 <= 1]
    all_eight = [row for row in asked if row.decode_devices_400 <= kv_bandwidth.REPLICA]
    part = sum(row.prefill_devices_400 <= 1 and row.decode_devices_400 <= 1 for row in asked) / len(asked)
    worst = max(asked, key=lambda row: row.egress_gbps)
    limits = ", ".join(
        f"{model.name} {precision} {kv_bandwidth.longest_tokens(model, precision, 0.02, 1, 400):,}"
        for model in map(catalog.model, MODELS)
        for precision in kv_bandwidth.PRECISIONS
    )
    return Claim(
        5,
        "200-400 Gbps carry the KV cache",
        "200-400 Gbps links suffice for KV transfer up to 32K input tokens",
        Verdict.DEPENDS if len(out) == len(asked) and part < 1 else verdict(part),
        part,
        len(asked),
        f"egress on one 400 Gbps link in {len(out)} of {len(asked)} cells, ingress within one token gap in {len(one)}; "
        f"over the links of eight decode devices in {len(all_eight)}",
        (
            (
                f"Egress (equation 1): one 400 Gbps link suffices in {len(out)} of {len(asked)} cells; the worst asks "
                "for "
                f"{worst.egress_gbps:.0f} Gbps ({worst.model} {worst.precision}, {worst.isl:,} tokens)."
            ),
            (
                f"Ingress (equation 2) over one link: {len(one)} of {len(asked)} cells. The longest prompt that "
                "arrives "
                "within "
                f"20 ms over one 400 Gbps link, in tokens: {limits}."
            ),
            (
                f"Ingress over eight decode devices with a link each: {len(all_eight)} of {len(asked)}. At 32K tokens "
                "it "
                "takes "
                f"{_span(asked)} decode devices."
            ),
            (
                "The gap counts once per answer, between the first and the second token: a hand-off that takes longer "
                "delays "
                "that one token, not the others; streamed layer by layer during the prefill, equation 1 is the one "
                "that "
                "binds."
            ),
        ),
        "the phase (egress holds, ingress does not), the number of decode devices, the precision of the cache, and "
        "whether "
        "the transfer overlaps the prefill",
        ("No measured hand-off between vendors is in the data: this claim is arithmetic on both sides.",),
    )


def claim_6(found: Sequence[catalogue.Row]) -> Claim:
    """The prose says of Figure 4 that Gaudi 3 has the lowest marginal cost of memory bandwidth."""
    panels = [
        (name, price, catalogue.ranked(found, name, "GB/s", price))
        for name in ("paper", "default")
        for price in ("price", "paper", "owned")
    ]
    first = [panel for panel in panels if panel[2] and panel[2][0].device == "gaudi3"]
    return Claim(
        6,
        "Figure 4: cost per unit of each resource",
        "cost per GB/s, per FP16 and FP8 TFLOPS, per GB, per device (Gaudi 3 cheapest per GB/s, which is why it "
        "decodes)",
        verdict(len(first) / len(panels)),
        len(first) / len(panels),
        len(panels),
        f"the figure reproduces; Gaudi 3 is the cheapest per GB/s in {len(first)} of {len(panels)} panels: by purchase "
        "price, "
        "not by device-hour",
        (
            *(_ranking(found, "GB/s", price) for price in ("price", "paper", "owned")),
            *(_ranking(found, "TFLOPS FP8", price) for price in ("price", "paper", "owned")),
            _ranking(found, "TFLOPS FP16", "price"),
            _ranking(found, "GB", "price"),
        ),
        "the price that is divided: the purchase price, or the device-hour, in which power weighs (Gaudi 3 draws 900 "
        "W); and "
        "the FLOPS column, which mixes formats in the paper's Table 5",
        ("Datasheet arithmetic; what devices reach of it is measured in the calibration.",),
    )


def _talk(found: Sequence[scaling.Row]) -> Iterable[str]:
    for phase in Phase:
        rows = _reference(found, phase)
        told = ", ".join(f"TP{row.tp} {row.communication_s / row.latency_s:.0%}" for row in rows if row.tp > 1)
        times = ", ".join(f"TP{row.tp} {1e3 * row.latency_s:.1f} ms" for row in rows)
        yield f"{short(REFERENCE)}, 70B FP8 {phase}: {times}; communication takes {told} of it."


def _price_of_speed(found: Sequence[scaling.Row]) -> Iterable[str]:
    for phase in Phase:
        rows = {row.tp: row for row in _reference(found, phase)}
        yield (
            f"Device-seconds of the same {phase} grow by {rows[8].device_s / rows[1].device_s:.2f} from TP1 to TP8: "
            "latency is bought with throughput."
        )


def _reference(found: Sequence[scaling.Row], phase: Phase) -> list[scaling.Row]:
    wanted = (REFERENCE, "llama-3-70b", Precision.FP8, phase, 1)
    return [row for row in found if (row.device, row.model, row.precision, row.phase, row.pp) == wanted]


def _depends_4(turns: Sequence[scaling.Turn]) -> str:
    fastest: dict[int, int] = {}
    for turn in turns:
        fastest[turn.fastest_tp] = fastest.get(turn.fastest_tp, 0) + 1
    told = ", ".join(f"TP{tp} in {count}" for tp, count in sorted(fastest.items()))
    return f"the size of the scale-up domain and the model's size; the fastest TP is {told} curves"


def _measured_tp() -> Iterable[str]:
    by_device: dict[str, list[Run]] = {}
    for run in of_kind("tensor_parallel"):
        by_device.setdefault(run.device, []).append(run)
    for device, found in by_device.items():
        found.sort(key=lambda run: run.tp or 0)
        told = ", ".join(
            f"TP{run.tp} TTFT {1e3 * (run.ttft_s or 0):.0f} ms, TPOT {1e3 * (run.tpot_s or 0):.1f} ms, "
            f"{run.tokens_per_s_per_device or 0:.0f} tokens/s per device"
            for run in found
        )
        yield f"Measured, {short(device)}, 70B FP8, 1024/1024 at concurrency 4: {told}."


def _span(asked: Sequence[kv_bandwidth.Row]) -> str:
    needed = sorted(row.decode_devices_400 for row in asked if row.isl == kv_bandwidth.CLAIMED_TOKENS)
    return f"{needed[0]} to {needed[-1]}"


def _ranking(found: Sequence[catalogue.Row], resource: str, price: str) -> str:
    unit = "USD" if price == "price" else "USD/h per thousand"
    scale = 1.0 if price == "price" else 1e3
    rows = catalogue.ranked(found, "default", resource, price)
    told = ", ".join(f"{short(row.device)} {scale * (row.usd_per_unit or 0):.3g}" for row in rows)
    name = "purchase price" if price == "price" else f"device-hour, finance {price}"
    return f"Per {resource}, {name} ({unit}): {told}."
