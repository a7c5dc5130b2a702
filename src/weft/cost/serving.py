"""What a serving run is made of, before any engine's habits: seconds of decode steps and of prefills, by class.

A closed loop keeps `concurrency` requests in flight on a deployment of equal replicas. Each replica decodes as many as
fit (`running`), the others wait. While a request decodes its `osl` tokens, every running request is replaced once, so
each decode step carries running / osl prefills.
"""

from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from weft.cost.arrays import Floats
from weft.cost.memory import kv_bytes_per_sequence, usable_bytes, weight_bytes
from weft.cost.ops import OpKind, work
from weft.cost.steps import Engine, StepEstimate, step

PROMPT_TOKENS = 8192
"""Tokens of prompts that an engine prefills together when several wait."""

FULL_SHARE = 0.9
"""Share of the answer that running sequences hold when memory is tightest: a closed loop starts them all together."""


class Part(StrEnum):
    """Classes of seconds that an engine scales by a coefficient each."""

    WEIGHTS = "weights"
    EXPERTS = "experts"
    ATTENTION = "attention"
    MESSAGES = "messages"
    POINTWISE = "pointwise"
    LAUNCHES = "launches"


_PART_OF = {
    OpKind.GEMM: Part.WEIGHTS,
    OpKind.EXPERT: Part.EXPERTS,
    OpKind.ATTENTION: Part.ATTENTION,
    OpKind.GENERATION: Part.ATTENTION,
    OpKind.LATENT: Part.ATTENTION,
    OpKind.ROTARY: Part.POINTWISE,
    OpKind.NORM: Part.POINTWISE,
    OpKind.ACTIVATION: Part.POINTWISE,
    OpKind.ALL_REDUCE: Part.MESSAGES,
    OpKind.ALL_TO_ALL: Part.MESSAGES,
    OpKind.SEND: Part.MESSAGES,
}


@dataclass(frozen=True, slots=True)
class Case:
    """A deployment of `replicas` equal engines under load. `isl` and `osl` are means, `concurrency` the total; of each
    prompt the first `cached` tokens are in the cache already."""

    engine: Engine
    replicas: int
    isl: float
    osl: float
    cached: float = 0.0


@dataclass(frozen=True, slots=True)
class Profile:
    """Seconds by part, shape (parts, loads). `decode_s`: one step of the running batch; `alone_s`: the prefill of one
    prompt; `packed_s`: one prompt's share when prompts are prefilled together. `fits`: sequences that memory holds."""

    decode_s: Floats
    alone_s: Floats
    packed_s: Floats
    running: Floats
    waiting: Floats
    fits: float


def profile(case: Case, concurrency: Floats) -> Profile:
    """`concurrency` has shape (loads,): requests in flight over all replicas."""
    engine, split = case.engine, case.engine.parallelism
    fits = sequences_that_fit(case)
    offered = np.maximum(np.asarray(concurrency, dtype=np.float64) / case.replicas, 1.0)
    running = np.minimum(offered, max(fits, 1.0))
    context = case.isl + case.osl / 2
    decode = step(engine, work(decoding=running / split.pp, context=context))
    alone, packed = prompt_parts_s(engine, case.isl, running.size, case.cached)
    return Profile(by_part(decode, running.size), alone, packed, running, offered - running, fits)


def prompt_parts_s(engine: Engine, isl: float, loads: int, cached: float = 0.0) -> tuple[Floats, Floats]:
    """Seconds by part (parts, loads) of a prompt that is prefilled alone, and of one of those prefilled together."""
    tokens = isl - cached
    together = max(1.0, PROMPT_TOKENS / tokens) * engine.parallelism.dp
    both = by_part(step(engine, work(prompts=[1.0, together], tokens=tokens, cached=cached)), 2)
    alone, packed = (np.repeat(both[:, at : at + 1], loads, axis=1) for at in (0, 1))
    return alone, packed / together


def by_part(estimate: StepEstimate, loads: int) -> Floats:
    """Seconds of a step by part, (parts, loads); launches are the floors of all local operators."""
    parts = {part: np.zeros(loads) for part in Part}
    for kind, seconds in estimate.by_kind_s.items():
        launch = estimate.floors_s.get(kind, 0.0)
        parts[_PART_OF[kind]] = parts[_PART_OF[kind]] + np.maximum(seconds - launch, 0.0)
        parts[Part.LAUNCHES] = parts[Part.LAUNCHES] + launch
    return np.stack([np.broadcast_to(seconds, (loads,)) for seconds in parts.values()])


def sequences_that_fit(case: Case) -> float:
    """Sequences of mean length that one replica's memory holds besides the weights."""
    engine = case.engine
    from_weights = weight_bytes(engine.model, engine.precision, engine.parallelism, engine.formats)
    memory = engine.device.memory_bytes
    free = max(usable_bytes(engine.device) - from_weights, 0.6 * (0.97 * memory - from_weights))
    formats = engine.formats
    assert formats is not None
    each = kv_bytes_per_sequence(engine.model, formats, engine.parallelism, case.isl + FULL_SHARE * case.osl)
    return float(np.floor(max(free, 0.0) / each)) * engine.parallelism.dp
