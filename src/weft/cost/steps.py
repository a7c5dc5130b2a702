"""Seconds of a whole model step, with its breakdown by operator class and where the numbers come from."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from weft.core.deployment import Parallelism
from weft.core.hardware import Device, Link
from weft.core.model import ModelSpec
from weft.core.units import Precision
from weft.cost.collectives import all_reduce_s, send_s
from weft.cost.ops import Floats, Op, OpKind, decode_ops, prefill_ops
from weft.cost.roofline import DEFAULT_EFFICIENCY, Efficiency, local_op_s


@dataclass(frozen=True, slots=True)
class Engine:
    """The replica that runs a step. `link` is needed only where it spans several scale-up domains."""

    model: ModelSpec
    device: Device
    parallelism: Parallelism
    precision: Precision
    link: Link | None = None
    efficiency: Efficiency = DEFAULT_EFFICIENCY


@dataclass(frozen=True, slots=True)
class StepEstimate:
    """Arrays have the shape of the batch asked for. `by_kind_s` sums to `seconds`."""

    seconds: Floats
    by_kind_s: Mapping[OpKind, Floats]
    provenance: str


def prefill(engine: Engine, isl: int, batch: ArrayLike = 1) -> StepEstimate:
    """`batch` prompts of `isl` tokens, to the first token of each."""
    return _estimate(engine, prefill_ops(engine.model, engine.precision, isl, batch, engine.parallelism))


def decode_step(engine: Engine, context: int, batch: ArrayLike = 1) -> StepEstimate:
    """One more token for each of `batch` sequences that hold `context` tokens."""
    return _estimate(engine, decode_ops(engine.model, engine.precision, context, batch, engine.parallelism))


def _estimate(engine: Engine, ops: tuple[Op, ...]) -> StepEstimate:
    by_kind_s: dict[OpKind, Floats] = {}
    for op in ops:
        seconds = op.count * _call_s(engine, op)
        by_kind_s[op.kind] = by_kind_s[op.kind] + seconds if op.kind in by_kind_s else seconds
    total = np.sum(list(by_kind_s.values()), axis=0)
    return StepEstimate(total, by_kind_s, engine.efficiency.provenance)


def _call_s(engine: Engine, op: Op) -> Floats:
    if op.kind is OpKind.ALL_REDUCE:
        return all_reduce_s(op.message_bytes, engine.parallelism.tp, engine.device, engine.link, engine.efficiency)
    if op.kind is OpKind.SEND:
        return send_s(op.message_bytes, engine.device, engine.link, engine.efficiency)
    return local_op_s(op, engine.device, engine.precision, engine.efficiency)
