"""Disaggregated serving: prompts on replicas of their own, the KV cache handed to others that decode.

A closed loop of two stations: what is being prefilled or waits for it is not decoding. The decode batch is what is left
of the requests in flight, so it follows from the rate that both stations can keep; the share of each is found by
iteration on datasheet-level seconds, which is close enough for the shape of the batch.
"""

from dataclasses import dataclass

import numpy as np

from weft.core.hardware import Link
from weft.cost.arrays import Floats
from weft.cost.collectives import scale_up_devices, send_s
from weft.cost.memory import kv_bytes_per_sequence
from weft.cost.ops import work
from weft.cost.serving import Case, Profile, by_part, prompt_parts_s, sequences_that_fit
from weft.cost.steps import Engine, step

_ROUNDS = 3
_LAUNCHES = 0.4
"""Share of the launches that engines do not hide, as in weft.cost.habits.START."""


@dataclass(frozen=True, slots=True)
class PrefillPool:
    """`replicas` equal engines that only prefill. `link` carries KV caches to the decode pool; None: the devices'
    scale-up network, which joins both pools."""

    engine: Engine
    replicas: int
    link: Link | None


def profile_apart(decode: Case, prefill: PrefillPool, concurrency: Floats) -> Profile:
    """As `serving.profile`: prompts take the seconds of the prefill pool, steps those of the decode pool's batch."""
    offered = np.maximum(np.asarray(concurrency, dtype=np.float64) / decode.replicas, 1.0)
    alone, packed = prompt_parts_s(prefill.engine, np.full_like(offered, decode.isl))
    prompt_s = packed.sum(axis=0) / prefill.replicas * decode.replicas
    fits = sequences_that_fit(decode)
    running = offered
    for _ in range(_ROUNDS):
        tpot_s = _hidden_launches(_steps(decode, np.minimum(running, max(fits, 1.0))))
        rate = np.minimum(offered / (alone.sum(axis=0) + decode.osl * tpot_s), 1.0 / prompt_s)
        running = np.clip(rate * decode.osl * tpot_s, 1.0, offered)
    held = np.minimum(running, max(fits, 1.0))
    return Profile(_steps(decode, held), alone, packed, held, running - held, np.full_like(held, fits))


def handoff_s(decode: Case, prefill: PrefillPool) -> float:
    """Seconds in which the KV cache of one prompt reaches the decode pool, each device sending its share."""
    engine, split = prefill.engine, prefill.engine.parallelism
    assert engine.formats is not None
    whole_bytes = kv_bytes_per_sequence(engine.model, engine.formats, split, np.array(decode.isl)) * split.pp
    return float(send_s(whole_bytes / split.pp, engine.device, prefill.link, engine.efficiency.collective))


def joined(prefill: Engine, prefill_replicas: int, decode: Case) -> bool:
    """Whether one scale-up network joins both pools."""
    devices = prefill_replicas * prefill.parallelism.devices + decode.replicas * decode.engine.parallelism.devices
    same = prefill.device.id == decode.engine.device.id
    return same and devices <= scale_up_devices(prefill.device)


def _steps(decode: Case, running: Floats) -> Floats:
    engine = decode.engine
    load = work(decoding=running / engine.parallelism.pp, context=decode.isl + decode.osl / 2)
    return by_part(step(engine, load), running.size)


def _hidden_launches(parts_s: Floats) -> Floats:
    return parts_s[:-1].sum(axis=0) + _LAUNCHES * parts_s[-1]
