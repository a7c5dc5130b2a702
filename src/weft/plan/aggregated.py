"""Options that run both phases of a language-model call in one pool: no hand-off, no second replica when load is light.

A replica with `batch` sequences in decode lets each new prompt in between two of its steps. When it is full, a step of
s seconds is followed by batch / osl prompts of t seconds each, so a token takes s + batch · t / osl, and a prompt waits
for the step that runs: TTFT is t + s. With φ the share of its time that a replica spends on prompts, the token's time
is s / (1 - φ); calls of one model may share a pool, so the largest φ among them counts. Decode time is thus an upper
bound, at a full batch; chunked prefill spreads the same work more evenly.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from weft.cost.memory import replica_bytes, usable_bytes
from weft.cost.steps import Engine, decode_step, prefill
from weft.plan.options import (
    DECODE_BATCHES,
    Candidate,
    Offer,
    Reason,
    Rejection,
    engines,
    offer_of,
    pool_of,
    too_large,
    where,
)
from weft.plan.problem import Option
from weft.plan.requests import LeafTask, PlanRequest

WORK = "serve"


@dataclass(frozen=True, slots=True)
class Call:
    """The two phases of one language-model call."""

    prefill: LeafTask
    decode: LeafTask


Verdict = tuple[str, Candidate | Rejection]
"""With the name of the task that it is about."""


def calls(request: PlanRequest) -> tuple[Call, ...]:
    return tuple(
        Call(request.task(flow.source), request.task(flow.target)) for flow in request.flows if flow.carries_kv
    )


def aggregated(request: PlanRequest) -> Iterator[Verdict]:
    """Every configuration that serves a whole call, as an option of each of its tasks, or why it is none."""
    found = calls(request)
    for call in found:
        peers = tuple(peer for peer in found if peer.decode.model == call.decode.model)
        for group in request.fleet.groups:
            offer = offer_of(group, request)
            if isinstance(offer, Offer):
                for engine in engines(call.decode, offer):
                    if isinstance(engine, Engine):
                        yield from _served(_Trial(call, peers, offer, engine, request))


@dataclass(frozen=True, slots=True)
class _Trial:
    """One replica for one call, before a batch is chosen. `peers`: calls that may share it, this one among them."""

    call: Call
    peers: tuple[Call, ...]
    offer: Offer
    engine: Engine
    request: PlanRequest

    @property
    def tokens(self) -> int:
        """In the cache of one sequence at its end."""
        return self.call.decode.isl + self.call.decode.osl

    def fitting(self) -> list[int]:
        """Batches that fit beside a prompt in flight."""
        return [batch for batch in DECODE_BATCHES if self.device_bytes(batch) <= usable_bytes(self.offer.group.device)]

    def device_bytes(self, batch: int) -> float:
        engine = self.engine
        rows = batch + self.call.prefill.isl
        return replica_bytes(engine.model, engine.precision, engine.parallelism, batch, self.tokens, rows)


@dataclass(frozen=True, slots=True)
class _Times:
    """Seconds: one prompt alone, one decode step at each batch, and one token with prompts let in between."""

    prompt_s: float
    step_s: NDArray[np.float64]
    token_s: NDArray[np.float64]
    provenance: str

    @property
    def ttft_s(self) -> NDArray[np.float64]:
        return self.prompt_s + self.step_s


def _served(trial: _Trial) -> Iterator[Verdict]:
    batches = trial.fitting()
    names = trial.call.prefill.name, trial.call.decode.name
    if not batches:
        refused = too_large(trial.offer.group, trial.engine, trial.device_bytes(1))
        yield from ((name, refused) for name in names)
        return
    times = _times(trial, np.array(batches))
    slo = trial.request.slo_of(trial.call.decode)
    ttft_limit_s, tpot_limit_s = (np.inf if limit is None else limit for limit in (slo.ttft_s, slo.tpot_s))
    good = (times.ttft_s <= ttft_limit_s) & (times.token_s <= tpot_limit_s)
    for at in np.flatnonzero(good):
        yield from _candidates(trial, batches[at], times, int(at))
    if not good.any():
        yield names[0], _too_slow(trial, "TTFT", float(times.ttft_s.min()), ttft_limit_s)
        yield names[1], _too_slow(trial, "TPOT", float(times.token_s.min()), tpot_limit_s)


def _times(trial: _Trial, batches: NDArray[np.int64]) -> _Times:
    own, prompt_s, provenance = _step_s(trial.call, trial.engine, batches)
    on_prompts = [_share_of_prompts(peer, trial.engine, batches) for peer in trial.peers]
    return _Times(prompt_s, own, own / (1 - np.max(on_prompts, axis=0)), provenance)


def _step_s(call: Call, engine: Engine, batches: NDArray[np.int64]) -> tuple[NDArray[np.float64], float, str]:
    """Seconds of a decode step at each batch, of one prompt, and where they come from."""
    steps = decode_step(engine, call.decode.isl + call.decode.osl // 2, batches)
    return np.asarray(steps.seconds, float), float(prefill(engine, call.prefill.isl).seconds), steps.provenance


def _share_of_prompts(call: Call, engine: Engine, batches: NDArray[np.int64]) -> NDArray[np.float64]:
    """Of a busy replica's time, at each batch."""
    step_s, prompt_s, _ = _step_s(call, engine, batches)
    return batches * prompt_s / (batches * prompt_s + call.decode.osl * step_s)


def _candidates(trial: _Trial, batch: int, times: _Times, at: int) -> Iterator[Verdict]:
    """One option for each phase, tied: a visit keeps the replica busy with its own work only."""
    group, engine, osl = trial.offer.group, trial.engine, trial.call.decode.osl
    pool = pool_of(trial.offer, engine, WORK, batch)
    watts = trial.offer.watts * pool.devices_per_replica
    phases = (
        (trial.call.prefill.name, float(times.ttft_s[at]), 1, times.prompt_s),
        (trial.call.decode.name, float(times.token_s[at]), osl, osl * float(times.step_s[at]) / batch),
    )
    for name, step_s, steps, busy_s in phases:
        option = Option(
            name=pool.name,
            pool=pool,
            latency_s=steps * step_s,
            busy_s=busy_s,
            port=f"{group.zone}.{engine.precision}",
            joules_per_visit=busy_s * watts,
            tie=pool.name,
        )
        split, precision, held_bytes = engine.parallelism, engine.precision, trial.device_bytes(batch)
        yield name, Candidate(option, group, split, precision, batch, step_s, held_bytes, times.provenance)


def _too_slow(trial: _Trial, objective: str, best_s: float, limit_s: float) -> Rejection:
    """Also told where the other phase is the slow one: then this phase's own best may lie within its limit."""
    place = f"{where(trial.offer.group, trial.engine)} serving both phases"
    message = f"{objective} {limit_s:.3f} s asked, best is {best_s:.3f} s on {place}"
    if best_s <= limit_s:
        message = f"no batch of {place} meets TTFT and TPOT together"
    return Rejection(place, Reason.TIME, max(best_s, limit_s), limit_s, message)
