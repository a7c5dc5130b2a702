"""Claims 4 to 6 of the paper: tensor parallelism, KV links, and what a unit of each resource costs."""

from collections import Counter
from collections.abc import Sequence

from weft import catalog
from weft.core.units import Precision
from weft.study import catalogue, kv_bandwidth, scaling
from weft.study.claims import Claim, Verdict, claim, verdict_of
from weft.study.evidence import Run, of_kind
from weft.study.space import MODELS, short
from weft.study.sweep import Phase

REFERENCE = "h100-sxm"
GAINS = 1.1
"""Tensor parallelism pays from this speed-up."""
_PRICES = {"price": "purchase price", "paper": "device-hour, finance paper", "owned": "device-hour, finance owned"}


def claim_4(found: Sequence[scaling.Row]) -> Claim:
    turns = scaling.turns(found)
    both = [turn for turn in turns if turn.speedup > GAINS and turn.slowdown_beyond > 1.0]
    part = len(both) / len(turns)
    values = {
        "curves": len(turns),
        "cut": sum(turn.speedup > GAINS for turn in turns),
        "lost": sum(turn.slowdown_beyond > 1.0 for turn in turns),
        "inside": sum(turn.slowdown_beyond > 1.0 and turn.inside_domain for turn in turns),
        "largest": max(scaling.TENSOR_PARALLEL),
        "fastest": sorted(Counter(turn.fastest_tp for turn in turns).items()),
        "reference": short(REFERENCE),
        "curve": [(phase, _reference(found, phase)) for phase in Phase],
        "measured": _measured_tp(),
    }
    return claim(4, verdict_of(part), part, len(turns), values)


def claim_5(found: Sequence[kv_bandwidth.Row]) -> Claim:
    """The two Llama 3 models of the paper, whatever their context."""
    asked = [row for row in found if row.model in MODELS and row.isl <= kv_bandwidth.CLAIMED_TOKENS]
    out = [row for row in asked if row.prefill_devices_400 <= 1]
    one = [row for row in asked if row.decode_devices_400 <= 1]
    part = sum(row.prefill_devices_400 <= 1 and row.decode_devices_400 <= 1 for row in asked) / len(asked)
    objective = catalog.slo("interactive")
    values = {
        "cells": len(asked),
        "out": len(out),
        "one": len(one),
        "replica": kv_bandwidth.REPLICA,
        "eight": sum(row.decode_devices_400 <= kv_bandwidth.REPLICA for row in asked),
        "worst": max(asked, key=lambda row: row.egress_gbps),
        "tokens": kv_bandwidth.CLAIMED_TOKENS,
        "needed": sorted(row.decode_devices_400 for row in asked if row.isl == kv_bandwidth.CLAIMED_TOKENS),
        "tpot_s": objective.tpot_s,
        "longest": _longest(objective.tpot_s or 0.0),
    }
    half = len(out) == len(asked) and part < 1
    return claim(5, Verdict.DEPENDS if half else verdict_of(part), part, len(asked), values)


def claim_6(found: Sequence[catalogue.Row]) -> Claim:
    """The prose says of Figure 4 that Gaudi 3 has the lowest marginal cost of memory bandwidth."""
    panels = [
        (name, price, catalogue.ranked(found, name, "GB/s", price))
        for name in ("paper", "default")
        for price in _PRICES
    ]
    first = [price for _, price, ranked in panels if ranked and ranked[0].device == "gaudi3"]
    part = len(first) / len(panels)
    listed = (
        *(("GB/s", price) for price in _PRICES),
        *(("TFLOPS FP8", price) for price in _PRICES),
        ("TFLOPS FP16", "price"),
        ("GB", "price"),
    )
    values = {
        "first": len(first),
        "panels": len(panels),
        "by": list(dict.fromkeys(_PRICES[price] for price in first)),
        "rankings": [
            (resource, _PRICES[price], price == "price", _ranking(found, resource, price)) for resource, price in listed
        ],
        "tdp_w": catalog.device("gaudi3").tdp_w,
    }
    return claim(6, verdict_of(part), part, len(panels), values)


def _reference(found: Sequence[scaling.Row], phase: Phase) -> list[scaling.Row]:
    wanted = (REFERENCE, "llama-3-70b", Precision.FP8, phase, 1)
    return [row for row in found if (row.device, row.model, row.precision, row.phase, row.pp) == wanted]


def _measured_tp() -> list[tuple[str, list[Run]]]:
    by_device: dict[str, list[Run]] = {}
    for run in of_kind("tensor_parallel"):
        by_device.setdefault(short(run.device), []).append(run)
    return [(device, sorted(found, key=lambda run: run.tp or 0)) for device, found in by_device.items()]


def _longest(within_s: float) -> list[tuple[str, Precision, int]]:
    return [
        (model.name, precision, kv_bandwidth.longest_tokens(model, precision, within_s, 1, 400))
        for model in map(catalog.model, MODELS)
        for precision in kv_bandwidth.PRECISIONS
    ]


def _ranking(found: Sequence[catalogue.Row], resource: str, price: str) -> list[tuple[str, float]]:
    """USD per unit, or USD per hour and thousand units."""
    scale = 1.0 if price == "price" else 1e3
    rows = catalogue.ranked(found, "default", resource, price)
    return [(short(row.device), scale * (row.usd_per_unit or 0.0)) for row in rows]
