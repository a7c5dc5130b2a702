"""What a serving run is made of, before any engine's habits: seconds of decode steps and of prefills, by class.

A closed loop keeps `concurrency` requests in flight on a deployment of equal replicas. Each replica decodes as many as
fit (`running`), the others wait. While a request decodes its `osl` tokens, every running request is replaced once, so
each decode step carries running / osl prefills.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from weft.cost.arrays import Floats
from weft.cost.memory import kv_bytes_per_sequence, usable_bytes, weight_bytes
from weft.cost.ops import OpKind, work
from weft.cost.steps import Engine, StepEstimate, step

Places = NDArray[np.intp]

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
class Loads:
    """What several replicas of one engine are asked, each (loads,): requests `offered` to one replica at a time, and
    their sizes, as in Case."""

    offered: Floats
    isl: Floats
    osl: Floats
    cached: Floats


@dataclass(frozen=True, slots=True)
class Profile:
    """Seconds by part, shape (parts, loads). `decode_s`: one step of the running batch; `alone_s`: the prefill of one
    prompt; `packed_s`: one prompt's share when prompts are prefilled together. `fits`: sequences that memory holds."""

    decode_s: Floats
    alone_s: Floats
    packed_s: Floats
    running: Floats
    waiting: Floats
    fits: Floats

    def at(self, places: Places) -> "Profile":
        """Of these loads, in this order."""
        return Profile(*(getattr(self, each.name)[..., places] for each in fields(self)))


def joined(profiles: Sequence[Profile]) -> Profile:
    """All their loads, one after the other."""
    columns = (np.concatenate([getattr(one, each.name) for one in profiles], axis=-1) for each in fields(Profile))
    return Profile(*columns)


def profile(case: Case, concurrency: Floats) -> Profile:
    """`concurrency` has shape (loads,): requests in flight over all replicas."""
    offered = np.maximum(np.asarray(concurrency, dtype=np.float64) / case.replicas, 1.0)
    isl, osl, cached = (np.full_like(offered, each) for each in (case.isl, case.osl, case.cached))
    return profile_of(case.engine, Loads(offered, isl, osl, cached))


def profile_of(engine: Engine, loads: Loads) -> Profile:
    """All loads in one evaluation of the engine's operators."""
    fits = _fitting(engine, loads.isl + FULL_SHARE * loads.osl)
    running = np.minimum(loads.offered, np.maximum(fits, 1.0))
    context = loads.isl + loads.osl / 2
    decode = step(engine, work(decoding=running / engine.parallelism.pp, context=context))
    alone, packed = prompt_parts_s(engine, loads.isl, loads.cached)
    return Profile(by_part(decode, running.size), alone, packed, running, loads.offered - running, fits)


def prompt_parts_s(engine: Engine, isl: Floats, cached: Floats | float = 0.0) -> tuple[Floats, Floats]:
    """Seconds by part (parts, loads) of a prompt that is prefilled alone, and of one of those prefilled together."""
    tokens, before = np.broadcast_arrays(isl - cached, cached)
    together = np.maximum(1.0, PROMPT_TOKENS / tokens) * engine.parallelism.dp
    prompts = np.concatenate([np.ones_like(together), together])
    load = work(prompts=prompts, tokens=np.tile(tokens, 2), cached=np.tile(before, 2))
    alone, packed = np.split(by_part(step(engine, load), prompts.size), 2, axis=1)
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
    return _fitting(case.engine, np.array([case.isl + FULL_SHARE * case.osl])).item()


def _fitting(engine: Engine, tokens: Floats) -> Floats:
    """Sequences of so many tokens."""
    from_weights = weight_bytes(engine.model, engine.precision, engine.parallelism, engine.formats)
    memory = engine.device.memory_bytes
    free = max(usable_bytes(engine.device) - from_weights, 0.6 * (0.97 * memory - from_weights))
    formats = engine.formats
    assert formats is not None
    each = kv_bytes_per_sequence(engine.model, formats, engine.parallelism, tokens)
    return np.floor(max(free, 0.0) / each) * engine.parallelism.dp
