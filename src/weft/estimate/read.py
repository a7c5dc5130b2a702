"""Reads what people write into a point: number format, software, parallelism, sizes.

Exporters of public results sometimes multiply devices twice: tp x ep of one group of devices (tp=64 ep=8 on a machine
of 8). A replica of ep x ep devices, or one whose ep = tp x tp, is read as the single group that it is.
"""

import re
from collections.abc import Mapping
from functools import cache

from weft import catalog
from weft.core.deployment import Parallelism
from weft.core.errors import PlanError
from weft.core.hardware import Device
from weft.core.model import ModelSpec
from weft.core.units import Precision
from weft.cost.efficiency import DEFAULT_EFFICIENCY, Efficiency
from weft.cost.formats import Formats, formats_on
from weft.cost.memory import stored_bytes, usable_bytes
from weft.cost.points import Point
from weft.cost.steps import Engine

_FORMATS = (
    (("fp8", "e4m3"), Precision.FP8, False),
    (("int4", "uint4", "w4a16", "awq", "gptq"), Precision.FP4, True),
    (("fp4", "nvfp4", "mxfp4"), Precision.FP4, False),
    (("int8",), Precision.INT8, False),
    (("bf16", "fp16", "bfloat16", "float16", "half", "16 precision"), Precision.FP16, False),
    (("fp32", "tf32"), Precision.FP32, False),
)
KINDS = ("server", "offline", "prefill", "decode", "e2e")


def read_precision(point: Point, model: ModelSpec, device: Device) -> tuple[Precision, Formats]:
    """Blank: the 16 bits that a checkpoint has unless it says otherwise."""
    text = point.precision.lower()
    if not text.strip():
        return Precision.FP16, formats_on(device, model, Precision.FP16)
    for spellings, precision, weight_only in _FORMATS:
        if any(spelling in text for spelling in spellings):
            formats = formats_on(device, model, precision, weight_only)
            _check_format(device, formats)
            return precision, formats
    raise PlanError(
        subject=f"precision {point.precision!r}",
        problem="is no known number format",
        way_out="write fp16, bf16, fp8, int8, fp4 or int4",
    )


def _check_format(device: Device, formats: Formats) -> None:
    if formats.matrix not in device.flops_per_s:
        runs = ", ".join(device.flops_per_s) or "no matrix format"
        raise PlanError(
            subject=device.id, problem=f"does not run {formats.matrix} (it runs {runs})", way_out="choose one of these"
        )


def read_engine(text: str) -> tuple[str, str]:
    """("vllm 0.19.0 (agg)") -> ("vllm", "vllm 0.19"). Blank: the average engine."""
    lower = text.lower()
    families = (("vllm", "vllm"), ("sglang", "sglang"), ("trt", "trtllm"), ("tensorrt", "trtllm"), ("nim", "trtllm"))
    family = next((family for key, family in families if key in lower), "habana" if "habana" in lower else "")
    found = re.search(r"\d+\.\d+", lower)
    return family, f"{family} {found[0]}" if found and family else family


def read_parallelism(point: Point, model: ModelSpec, device: Device, formats: Formats) -> tuple[Parallelism, int]:
    """(one replica, replicas). A blank tp is the smallest that holds the weights with a quarter to spare."""
    gpus, tp, pp, ep = point.gpus, point.tp, point.pp or 1, point.ep or 1
    if tp is None:
        tp = smallest_tp(model, device, formats, gpus or 8)
    gpus = gpus or tp * pp
    tp, gpus, ep = _fold(tp, gpus, ep)
    if gpus % (tp * pp):
        gpus = tp * pp
    copies = gpus // (tp * pp)
    if model.experts is None:
        return Parallelism(tp=tp, pp=pp), copies
    if point.tp is None:
        return Parallelism(tp=tp, pp=pp, ep=min(ep, tp)), copies
    return Parallelism(tp=tp, pp=pp, dp=copies, ep=min(ep, tp * copies)), 1


def _fold(tp: int, gpus: int, ep: int) -> tuple[int, int, int]:
    if ep > 1 and tp == ep * ep:
        return ep, ep, ep
    if ep > 1 and tp == 1 and gpus == ep * ep:
        return 1, ep, ep
    if tp > 1 and gpus == tp * tp == ep:
        return tp, tp, tp
    return tp, gpus, ep


def smallest_tp(model: ModelSpec, device: Device, formats: Formats, most: int) -> int:
    needed = stored_bytes(model, formats) * 1.33
    fitting = [tp for tp in (1, 2, 4, 8) if tp <= most and tp * usable_bytes(device) >= needed]
    return fitting[0] if fitting else most


def check_lengths(point: Point, model: ModelSpec) -> None:
    if point.kind not in KINDS:
        raise PlanError(subject=f"kind {point.kind!r}", problem="is unknown", way_out=f"use {', '.join(KINDS)}")
    if not point.isl or not point.osl:
        missing = "isl" if not point.isl else "osl"
        raise PlanError(subject=f"point {point.id}", problem=f"has no {missing}", way_out="give tokens in and out")
    if point.kind in ("server", "e2e") and not point.concurrency:
        raise PlanError(
            subject=f"point {point.id}",
            problem="is served without a concurrency",
            way_out="give the requests in flight, or price it as offline",
        )
    if point.isl + point.osl > model.context:
        raise PlanError(
            subject=model.id,
            problem=f"its context of {model.context} tokens does not hold {point.isl:g} + {point.osl:g}",
            way_out=f"ask for at most {model.context} tokens",
        )


def given(text: str, what: str, point: Point) -> str:
    if not text.strip():
        raise PlanError(subject=f"point {point.id}", problem=f"has no {what}", way_out=f"name its {what}")
    return text


def engine_of(
    model: ModelSpec,
    device: Device,
    precision: Precision,
    formats: Formats,
    split: Parallelism,
    efficiencies: Mapping[str, Efficiency],
) -> Engine:
    """Beyond a box of 8 it talks over 400 Gb/s unless its scale-up network reaches further."""
    link = catalog.link("roce-400g") if split.devices > 8 else None
    return Engine(model, device, split, precision, link, efficiencies.get(device.id, DEFAULT_EFFICIENCY), formats)


@cache
def _twins() -> Mapping[tuple[object, ...], str]:
    """The first model of the catalogue with each set of sizes."""
    first: dict[tuple[object, ...], str] = {}
    for model in catalog.models().values():
        first.setdefault(_sizes(model), model.id)
    return first


def twin(model: ModelSpec) -> str:
    """Fine-tunes share sizes and so speed: the id that stands for all of them."""
    return _twins().get(_sizes(model), model.id)


def _sizes(model: ModelSpec) -> tuple[object, ...]:
    experts = model.experts
    shared = (experts.count, experts.active, experts.ffn) if experts else (0, 0, model.ffn)
    return (model.layers, model.d_model, model.heads, model.kv_heads, *shared)
