"""The best replica of one device for prefill and for decode: the full sweep of TP × PP × batch, batches as arrays.

What is minimised is device-seconds per request: whatever a device-hour costs, that is the cheapest replica. With `pp`
stages, `pp` batches are under way at once, so that no stage waits. Memory must hold weights, activations and the KV
cache of all sequences at the end of their answers. A device cannot serve more requests than its KV link carries.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import cache

import numpy as np

from weft.core.deployment import Parallelism
from weft.core.errors import PlanError
from weft.core.hardware import Device, Link
from weft.core.workload import Slo
from weft.cost.arrays import Floats
from weft.cost.memory import activation_bytes, kv_bytes, usable_bytes, weight_bytes
from weft.cost.roofline import peak_flops_per_s
from weft.cost.transfer import transfer_s
from weft.study.physics import Timing, decode_estimate, engine, prefill_estimate, sends_s
from weft.study.space import Question

TENSOR_PARALLEL = (1, 2, 4, 8, 16)
PIPELINE_PARALLEL = (1, 2, 4, 8)
LARGEST_REPLICA = 32
BATCHES_PER_OCTAVE = 32
NEAR = 1.005
"""Replicas this close to the best count as equal: the smallest of them is taken."""


class Phase(StrEnum):
    PREFILL = "prefill"
    DECODE = "decode"


_LARGEST_BATCH = {Phase.PREFILL: 64, Phase.DECODE: 2048}


@dataclass(frozen=True, slots=True)
class Choice:
    """The best replica: `latency_s` is the TTFT of a prefill or the TPOT of a decode, `batch` counts the sequences of
    one pipeline stage. `link_bound`: the KV link, not the device, limits its rate."""

    device: str
    parallelism: Parallelism
    batch: int
    latency_s: float
    device_s_per_request: float
    link_bound: bool
    provenance: str

    def __str__(self) -> str:
        return f"tp{self.parallelism.tp} pp{self.parallelism.pp} b{self.batch}"


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why no replica of the device will do."""

    device: str
    reason: str


Answer = Choice | Refusal


@dataclass(frozen=True, slots=True)
class Curve:
    """One replica size over all batches that fit: arrays of one shape (batches,)."""

    parallelism: Parallelism
    batches: Floats
    latency_s: Floats
    device_s: Floats
    link_s: float
    offline_gain: float
    provenance: str

    def best(self, limit_s: float | None) -> tuple[float, int] | None:
        """(device-seconds per request, index) of the best batch within the limit."""
        busy_s = self.device_s / (self.offline_gain if limit_s is None else 1.0)
        bound_s = np.maximum(busy_s, self.link_s)
        allowed = bound_s if limit_s is None else np.where(self.latency_s <= limit_s, bound_s, np.inf)
        least = float(allowed.min())
        return (least, int(np.argmax(allowed <= NEAR * least))) if np.isfinite(least) else None


def answers(
    question: Question, device: Device, objectives: tuple[Slo, ...], link: Link
) -> Mapping[tuple[str, Phase], Answer]:
    """By objective and phase: the best replica, or why there is none."""
    return {
        (slo.name, phase): answer
        for phase in Phase
        for slo, answer in zip(objectives, _of_phase(question, device, phase, objectives, link), strict=True)
    }


def curves(question: Question, device: Device, phase: Phase, link: Link) -> Iterator[Curve]:
    """Every replica size that holds the model and at least one sequence, the smallest first. Pipeline stages change
    nothing of a step but its sends, so each tp is asked once, for the batches of its roomiest pp."""
    room = {size: _most(question, device, phase, size) for size in replica_sizes(question, device)}
    stages: dict[int, _Stage] = {}
    for tp in {size.tp for size in room}:
        batches = _grid(max(most for size, most in room.items() if size.tp == tp))
        if len(batches):
            estimate = step_estimate(question, device, phase, Parallelism(tp=tp), batches, link)
            stages[tp] = _Stage(batches, estimate)
    for size, most in room.items():
        if most:
            yield _curve(question, device, phase, size, stages[size.tp].first(most), link)


@dataclass(frozen=True, slots=True)
class _Stage:
    """Steps of one tp without sends: arrays of shape (batches,)."""

    batches: Floats
    timing: Timing

    def first(self, most: int) -> "_Stage":
        kept, timing = self.batches <= most, self.timing
        return _Stage(
            self.batches[kept], replace(timing, seconds=timing.seconds[kept], latency_s=timing.latency_s[kept])
        )


def step_estimate(
    question: Question, device: Device, phase: Phase, parallelism: Parallelism, batches: Floats | int, link: Link
) -> Timing:
    """A prefill of `batches` prompts, or one decode step in the middle of their answers."""
    replica = engine(question.model, question.precision, device, parallelism, link)
    if phase is Phase.PREFILL:
        return prefill_estimate(replica, question.isl, batches)
    return decode_estimate(replica, question.isl + question.osl // 2, batches)


def replica_sizes(question: Question, device: Device) -> Iterator[Parallelism]:
    """Sizes that cut heads and layers evenly, the smallest first."""
    model = question.model
    sizes = [
        Parallelism(tp=tp, pp=pp)
        for tp in TENSOR_PARALLEL
        for pp in PIPELINE_PARALLEL
        if tp * pp <= LARGEST_REPLICA and model.heads % tp == 0 and model.layers % pp == 0
    ]
    yield from sorted(sizes, key=lambda size: (size.devices, size.pp))


def _of_phase(
    question: Question, device: Device, phase: Phase, objectives: tuple[Slo, ...], link: Link
) -> Iterator[Answer]:
    try:
        peak_flops_per_s(device, question.precision)
    except PlanError as refused:
        yield from [Refusal(device.id, refused.problem)] * len(objectives)
        return
    found = list(curves(question, device, phase, link))
    for slo in objectives:
        yield _best(found, device, question, phase, slo)


def _best(found: list[Curve], device: Device, question: Question, phase: Phase, slo: Slo) -> Answer:
    if not found:
        needed = question.model.weight_bytes(question.precision) / 1e9
        return Refusal(device.id, f"no replica of up to {LARGEST_REPLICA} devices holds {needed:.0f} GB of weights")
    limit_s = slo.ttft_s if phase is Phase.PREFILL else slo.tpot_s
    bests = [(curve, best) for curve in found if (best := curve.best(limit_s))]
    if not bests:
        fastest_s = min(float(curve.latency_s.min()) for curve in found)
        name = "TTFT" if phase is Phase.PREFILL else "TPOT"
        return Refusal(device.id, f"{name} {limit_s:g} s asked, its best is {fastest_s:.3f} s")
    least = min(device_s for _, (device_s, _) in bests)
    curve, (device_s, at) = next((curve, best) for curve, best in bests if best[0] <= NEAR * least)
    return Choice(
        device.id,
        curve.parallelism,
        int(curve.batches[at]),
        float(curve.latency_s[at]),
        device_s,
        bool(curve.link_s >= device_s),
        curve.provenance,
    )


def _curve(
    question: Question, device: Device, phase: Phase, parallelism: Parallelism, stage: _Stage, link: Link
) -> Curve:
    """Decode is priced at the middle of the answer; its share of the hand-off (one cache over one link, the slowest
    case) is spread over the gaps between tokens, as TPOT counts it."""
    rows = stage.batches * (question.isl if phase is Phase.PREFILL else 1)
    sent_s = sends_s(engine(question.model, question.precision, device, parallelism, link), rows)
    steps, handoff_s, timing = 1, 0.0, stage.timing
    if phase is Phase.DECODE:
        steps = max(question.osl - 1, 1)
        handoff_s = transfer_s(question.kv_bytes, link) / steps
    device_s = parallelism.devices * steps * (timing.seconds + sent_s) / (stage.batches * parallelism.pp)
    latency_s = timing.latency_s + sent_s + handoff_s
    link_s = question.kv_bytes / link.bytes_per_s
    return Curve(parallelism, stage.batches, latency_s, device_s, link_s, timing.offline_gain, timing.provenance)


def _most(question: Question, device: Device, phase: Phase, parallelism: Parallelism) -> int:
    """The largest batch of one stage that fits with those of all stages."""
    model, precision = question.model, question.precision
    cached, rows = (question.isl, question.isl) if phase is Phase.PREFILL else (question.isl + question.osl, 1)
    each = parallelism.pp * kv_bytes(model, precision, parallelism, cached)
    each += activation_bytes(model, precision, parallelism, rows)
    free = usable_bytes(device) - weight_bytes(model, precision, parallelism)
    return min(int(max(free, 0.0) // each), _LARGEST_BATCH[phase])


@cache
def _grid(most: int) -> Floats:
    """Batches two per cent apart."""
    if not most:
        return np.empty(0)
    octaves = math.log2(most)
    steps = np.exp2(np.linspace(0.0, octaves, 1 + math.ceil(BATCHES_PER_OCTAVE * octaves)))
    return np.unique(np.append(np.floor(steps), most))
