"""θ of the paper: what one visit of a model step uses, whole or one part of it. Parts add up to the whole.

A part is a range of the model's layers, the devices of one shard, or what a mixture of experts splits into: gate
(attention, norms, router, dense and shared FFNs, head), experts, merge (the residual add and norm after them), and the
messages: all-reduce, gather of rows for experts, send between pipeline stages.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import StrEnum
from itertools import pairwise

import numpy as np

from weft.core.deployment import Parallelism
from weft.core.model import ModelSpec
from weft.core.units import Precision
from weft.cost.formats import default_formats
from weft.cost.ops import Op, step_ops, work
from weft.cost.sharding import kv_bytes_per_token

ONE_DEVICE = Parallelism()


class Part(StrEnum):
    GATE = "gate"
    EXPERTS = "experts"
    MERGE = "merge"
    REDUCE = "reduce"
    GATHER = "gather"
    SEND = "send"


ARITHMETIC = (Part.GATE, Part.EXPERTS, Part.MERGE)
MESSAGES = (Part.REDUCE, Part.GATHER, Part.SEND)
ALL = (*ARITHMETIC, *MESSAGES)

_MESSAGE_PARTS = {"all_reduce": Part.REDUCE, "expert_exchange": Part.GATHER, "send": Part.SEND}
_ROUTED = ("expert_gate_up", "expert_activation", "expert_down")
_SPARSE = (*_ROUTED, "router", "shared_gate_up", "shared_activation", "shared_down", "expert_exchange")
_DENSE = ("dense_gate_up", "dense_activation", "dense_down")


@dataclass(frozen=True, slots=True)
class Theta:
    """All devices together. `kv_bytes` is the cache that a prefill makes (a decode reads)."""

    flops: float = 0.0
    memory_bytes: float = 0.0
    message_bytes: float = 0.0
    kv_bytes: float = 0.0

    def __add__(self, other: "Theta") -> "Theta":
        return Theta(
            self.flops + other.flops,
            self.memory_bytes + other.memory_bytes,
            self.message_bytes + other.message_bytes,
            self.kv_bytes + other.kv_bytes,
        )

    def scaled(self, by: float) -> "Theta":
        return Theta(by * self.flops, by * self.memory_bytes, by * self.message_bytes, by * self.kv_bytes)


@dataclass(frozen=True, slots=True)
class Visit:
    """One visit of a phase, a batch of one: the whole replica. `layers` restricts it to a range. A prefill finds
    the first `cached` tokens of its prompt in the cache."""

    model: ModelSpec
    decodes: bool
    isl: int
    osl: int
    parallelism: Parallelism = ONE_DEVICE
    precision: Precision = Precision.FP16
    layers: range | None = None
    cached: int = 0

    def stages(self) -> tuple["Visit", ...]:
        """The pipeline's, as even as they come."""
        cuts = [self.model.layers * stage // self.parallelism.pp for stage in range(self.parallelism.pp + 1)]
        return tuple(replace(self, layers=range(*cut)) for cut in pairwise(cuts))


def theta(visit: Visit, parts: Iterable[Part] = ALL) -> Theta:
    """The sum over the visit's operators, all devices and, in a decode, all tokens of the reply."""
    wanted = frozenset(parts)
    times = visit.osl if visit.decodes else 1
    context = visit.isl + visit.osl // 2
    load = work(decoding=1, context=context) if visit.decodes else work(0, 0, 1, visit.isl - visit.cached, visit.cached)
    operators = step_ops(visit.model, default_formats(visit.model, visit.precision), load, visit.parallelism)
    found = Theta(kv_bytes=_kv_bytes(visit) if Part.GATE in wanted else 0.0)
    devices = visit.parallelism.tp * visit.parallelism.dp  # a device's operators are those of all pipeline stages
    for each in operators:
        share = sum(amount for part, amount in _parts(each, visit) if part in wanted)
        found = found + _of(each).scaled(share * times * devices)
    return found


def _of(op: Op) -> Theta:
    one = Theta(_number(op.flops), _number(op.bytes_moved), _number(op.message_bytes))
    return one.scaled(op.count)


def _number(value: object) -> float:
    return float(np.asarray(value, dtype=np.float64).item())


def _parts(op: Op, visit: Visit) -> tuple[tuple[Part, float], ...]:
    """The parts that an operator belongs to, with the share of its calls that the visit's layers make."""
    share = _layer_share(op.name, visit)
    if op.name in _MESSAGE_PARTS:
        return ((_MESSAGE_PARTS[op.name], share),)
    if op.name in _ROUTED:
        return ((Part.EXPERTS, share),)
    if op.name == "add_norm" and visit.model.experts is not None:
        merging = _overlap(visit, _sparse(visit.model)) / (2 * visit.model.layers)
        return ((Part.MERGE, merging), (Part.GATE, share - merging))
    return ((Part.GATE, share),)


def _layer_share(name: str, visit: Visit) -> float:
    """Which part of an operator's calls falls into the visit's layers. Kinds of attention are spread evenly."""
    model, layers = visit.model, visit.layers
    if layers is None:
        return 1.0
    if name == "head":
        return float(layers.stop == model.layers)
    if name == "send":
        return 0.0 if layers.stop == model.layers else 1.0 / (visit.parallelism.pp - 1)
    if name in _SPARSE:
        return _overlap(visit, _sparse(model)) / len(_sparse(model))
    if name in _DENSE:
        return _overlap(visit, _dense(model)) / len(_dense(model))
    if name == "all_reduce" and visit.parallelism.dp > 1:
        return (2 * len(layers) - _overlap(visit, _sparse(model))) / (2 * model.layers - len(_sparse(model)))
    return len(layers) / model.layers


def _sparse(model: ModelSpec) -> range:
    return range(model.experts.dense_layers if model.experts else model.layers, model.layers)


def _dense(model: ModelSpec) -> range:
    return range(model.experts.dense_layers if model.experts else 0)


def _overlap(visit: Visit, of: range) -> int:
    layers = visit.layers if visit.layers is not None else range(visit.model.layers)
    return max(0, min(layers.stop, of.stop) - max(layers.start, of.start))


def _kv_bytes(visit: Visit) -> float:
    """On all devices: heads that are fewer than the devices are held several times."""
    split = visit.parallelism
    share = 1.0 if visit.layers is None else len(visit.layers) / visit.model.layers
    stored = default_formats(visit.model, visit.precision).kv
    return share * split.tp * (visit.isl - visit.cached) * kv_bytes_per_token(visit.model, stored, split)
