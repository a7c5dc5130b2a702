"""Seconds of a whole model step, with its breakdown by operator class and where the numbers come from."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from weft.core.deployment import Parallelism
from weft.core.hardware import Device, Link
from weft.core.model import ModelSpec
from weft.core.units import Precision
from weft.cost.arrays import Floats
from weft.cost.collectives import all_reduce_s, send_s
from weft.cost.efficiency import DEFAULT_EFFICIENCY, Efficiency
from weft.cost.formats import Formats, default_formats
from weft.cost.ops import MESSAGES, Op, OpKind, Work, step_ops, work
from weft.cost.roofline import floor_s, work_s


@dataclass(frozen=True, slots=True)
class Engine:
    """The replica that runs a step. `link` is needed only where it spans several scale-up domains; `formats` only where
    weights, arithmetic and KV cache are not what `precision` says."""

    model: ModelSpec
    device: Device
    parallelism: Parallelism
    precision: Precision
    link: Link | None = None
    efficiency: Efficiency = DEFAULT_EFFICIENCY
    formats: Formats | None = None


@dataclass(frozen=True, slots=True)
class StepEstimate:
    """Arrays have the shape of the work asked for. `by_kind_s` sums to `seconds`; `floors_s` is the part of it that the
    local operators would take if they had nothing to do (launches)."""

    seconds: Floats
    by_kind_s: Mapping[OpKind, Floats]
    floors_s: Mapping[OpKind, float]
    provenance: str


def prefill(engine: Engine, isl: int, batch: ArrayLike = 1, cached: int = 0) -> StepEstimate:
    """`batch` prompts of `isl` tokens, `cached` of which a prefix cache holds, to the first token of each."""
    return step(engine, work(prompts=batch, tokens=isl - cached, cached=cached))


def decode_step(engine: Engine, context: int, batch: ArrayLike = 1) -> StepEstimate:
    """One more token for each of `batch` sequences that hold `context` tokens."""
    return step(engine, work(decoding=batch, context=context))


def step(engine: Engine, load: Work) -> StepEstimate:
    """Any step, prompt chunks mixed into a decode batch included."""
    formats = engine.formats or default_formats(engine.model, engine.precision)
    by_kind_s: dict[OpKind, Floats] = {}
    floors_s: dict[OpKind, float] = {}
    for op in step_ops(engine.model, formats, load, engine.parallelism):
        seconds = op.count * _call_s(engine, op)
        by_kind_s[op.kind] = by_kind_s[op.kind] + seconds if op.kind in by_kind_s else seconds
        if op.kind not in MESSAGES:
            floors_s[op.kind] = floors_s.get(op.kind, 0.0) + op.count * floor_s(op, engine.efficiency)
    total = np.sum(list(by_kind_s.values()), axis=0)
    return StepEstimate(total, by_kind_s, floors_s, engine.efficiency.provenance)


def _call_s(engine: Engine, op: Op) -> Floats:
    split, curve = engine.parallelism, engine.efficiency.collective
    if op.kind is OpKind.ALL_REDUCE:
        return all_reduce_s(op.message_bytes, split.tp, engine.device, engine.link, curve)
    if op.kind is OpKind.ALL_TO_ALL:
        return all_reduce_s(op.message_bytes, split.tp * split.dp, engine.device, engine.link, curve)
    if op.kind is OpKind.SEND:
        return send_s(op.message_bytes, engine.device, engine.link, curve)
    return floor_s(op, engine.efficiency) + work_s(op, engine.device, engine.efficiency)
