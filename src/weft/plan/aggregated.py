"""Options that run both phases of a language-model call in one pool: no hand-off, one replica when load is light.

A replica with `batch` sequences under way is the closed loop of `weft estimate`: prompts are let in between decode
steps, so a token takes longer than its step, and a first token waits for the step that runs. A visit of either phase
holds one of `batch` places for its time, so it keeps the replica busy for a `batch`-th of that (Little's law): the rate
of the replica is the estimate's tokens a second. What comes when all places are taken waits (`queueing`). Calls of one
model may share a pool; the prompts that hold up a decode most are counted then.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from weft.cost.arrays import Floats
from weft.cost.memory import replica_bytes, usable_bytes
from weft.cost.steps import Engine
from weft.plan.options import (
    DECODE_BATCHES,
    Candidate,
    Offer,
    Reason,
    Rejection,
    Verdict,
    allowed,
    assumed,
    engines,
    limit_of,
    offer_of,
    pool_of,
    sizes_of,
    too_large,
    waiting,
    where,
)
from weft.plan.problem import Option
from weft.plan.queueing import Traffic, traffic_of
from weft.plan.requests import LeafTask, PlanRequest
from weft.plan.served import PREFILL, SERVER, Asking, Band, Replica, Served, Sizes

WORK = "serve"
ALONE = Band()


@dataclass(frozen=True, slots=True)
class Call:
    """The two phases of one language-model call, and what begins its prompts, if another task prefills that."""

    prefill: LeafTask
    decode: LeafTask
    prefix: LeafTask | None = None


def calls(request: PlanRequest) -> tuple[Call, ...]:
    begun = {flow.target: request.task(flow.source) for flow in request.flows if flow.extends}
    return tuple(
        Call(request.task(flow.source), request.task(flow.target), begun.get(flow.source))
        for flow in request.flows
        if flow.carries_kv
    )


def aggregated(request: PlanRequest) -> Iterator[Asking[list[Verdict]]]:
    """For each call: every configuration that serves it whole, as an option of each of its tasks, or why it is none."""
    found = calls(request)
    for call in found:
        peers = [sizes_of(peer.decode) for peer in found if peer.decode.model == call.decode.model]
        yield _of_call(call, peers, request)


def _of_call(call: Call, peers: Sequence[Sizes], request: PlanRequest) -> Asking[list[Verdict]]:
    trials = list(_trials(call, request))
    found: list[Verdict] = []
    for trial in trials:
        if not trial.batches:
            refused = too_large(trial.offer.group, trial.engine, trial.device_bytes(1))
            found += [(task.name, refused) for task in (call.prefill, call.decode)]
    fitting = [trial for trial in trials if trial.batches]
    times = yield from _times(call, fitting, peers, request)
    return [*found, *(each for trial, own in zip(fitting, times, strict=True) for each in _judged(trial, own, request))]


@dataclass(frozen=True, slots=True)
class _Trial:
    """One replica for one call at the batches that fit beside a prompt in flight."""

    call: Call
    offer: Offer
    engine: Engine
    batches: tuple[int, ...]

    def device_bytes(self, batch: int) -> float:
        return _device_bytes(self.call, self.engine, batch)


def _trials(call: Call, request: PlanRequest) -> Iterator[_Trial]:
    for group in request.fleet.groups:
        offer = offer_of(group, request)
        if isinstance(offer, Rejection) or not (allowed(call.prefill, group) and allowed(call.decode, group)):
            continue
        for engine in engines(call.decode, offer):
            if isinstance(engine, Engine):
                room = usable_bytes(group.device)
                fitting = tuple(batch for batch in DECODE_BATCHES if _device_bytes(call, engine, batch) <= room)
                yield _Trial(call, offer, engine, fitting)


def _device_bytes(call: Call, engine: Engine, batch: int) -> float:
    tokens = call.decode.isl + call.decode.osl
    rows = batch + call.prefill.isl - call.prefill.cached
    return replica_bytes(engine.model, engine.precision, engine.parallelism, batch, tokens, rows)


@dataclass(frozen=True, slots=True)
class _Times:
    """Seconds at each batch: to the first token, for each token after it, and of waiting for a place before.
    `prefix_s`: of the call's prefix, prefilled alone."""

    first_s: Floats
    token_s: Floats
    wait_s: Floats
    first: Band
    token: Band
    provenance: str
    prefix_s: float = 0.0
    prefix: Band = ALONE

    @property
    def ttft_s(self) -> Floats:
        return self.first_s + self.wait_s


def _times(call: Call, trials: Sequence[_Trial], peers: Sequence[Sizes], request: PlanRequest) -> Asking[list[_Times]]:
    traffic, own = traffic_of(call.decode, request), sizes_of(call.decode)
    densest = max(peers, key=lambda each: each.isl / max(each.osl, 1))
    mine = [Replica(trial.engine, SERVER, own, trial.batches, densest) for trial in trials]
    longest = [replace(each, sizes=traffic.longest) for each in mine] if traffic.longest != own else []
    begun = _prefixes(call, trials)
    priced = yield [*mine, *longest, *begun]
    count, prefixes = len(trials), priced[len(mine) + len(longest) :]
    others = priced[count : 2 * count] if longest else priced[:count]
    robust = request.robust
    times = [_waited(*each, traffic, robust=robust) for each in zip(trials, priced[:count], others, strict=True)]
    if not begun:
        return times
    return [_with_prefix(each, prefix, robust=robust) for each, prefix in zip(times, prefixes, strict=True)]


def _prefixes(call: Call, trials: Sequence[_Trial]) -> list[Replica]:
    if call.prefix is None:
        return []
    sizes = sizes_of(call.prefix)
    return [Replica(trial.engine, PREFILL, sizes, (1,), sizes) for trial in trials]


def _with_prefix(times: _Times, prefix: Served, *, robust: bool) -> _Times:
    seconds, band = assumed(prefix.ttft_s, prefix.ttft, robust=robust)
    return replace(times, prefix_s=float(seconds[0]), prefix=band)


def _waited(trial: _Trial, mine: Served, other: Served, traffic: Traffic, *, robust: bool) -> _Times:
    batches = np.array(trial.batches)
    (first_s, first), (token_s, token) = _both(mine, robust=robust)
    (other_first_s, _), (other_token_s, _) = _both(other, robust=robust)
    visit_s = first_s + (trial.call.decode.osl - 1) * token_s
    longest_s = other_first_s + (traffic.longest.osl - 1) * other_token_s
    wait_s = traffic.wait_s(batches, visit_s / batches, longest_s)
    return _Times(first_s, token_s, wait_s, first, token, str(mine.known))


def _both(found: Served, *, robust: bool) -> tuple[tuple[Floats, Band], tuple[Floats, Band]]:
    ttft = assumed(found.ttft_s, found.ttft, robust=robust)
    return ttft, assumed(found.tpot_s, found.tpot, robust=robust)


def _judged(trial: _Trial, times: _Times, request: PlanRequest) -> Iterator[Verdict]:
    slo = request.slo_of(trial.call.decode)
    ttft_limit_s, tpot_limit_s = limit_of(slo.ttft_s), limit_of(slo.tpot_s)
    good = (times.ttft_s <= ttft_limit_s) & (times.token_s <= tpot_limit_s)
    for at in np.flatnonzero(good):
        yield from _candidates(trial, times, int(at))
    if not good.any():
        at = int(np.argmin(times.ttft_s))
        waited = waiting(float(times.wait_s[at]))
        yield trial.call.prefill.name, _too_slow(trial, "TTFT", float(times.ttft_s[at]), ttft_limit_s, waited)
        yield trial.call.decode.name, _too_slow(trial, "TPOT", float(times.token_s.min()), tpot_limit_s)


def _candidates(trial: _Trial, times: _Times, at: int) -> Iterator[Verdict]:
    """One option for each phase, tied."""
    call, batch, wait_s = trial.call, trial.batches[at], float(times.wait_s[at])
    first_s, token_s = float(times.first_s[at]), float(times.token_s[at])
    phases = [
        (call.prefill.name, first_s, first_s, wait_s, times.first),
        (call.decode.name, token_s, (call.decode.osl - 1) * token_s, 0.0, times.token),
    ]
    if call.prefix is not None:
        phases.append((call.prefix.name, times.prefix_s, times.prefix_s, wait_s, times.prefix))
    for name, step_s, own_s, waited_s, band in phases:
        objective_s = step_s + waited_s
        option = _option(trial, batch, own_s, waited_s)
        if call.prefix is not None and name == call.prefix.name:  # whole steps of its own; not bound to the call's pool
            option = replace(option, busy_s=own_s, joules_per_visit=option.joules_per_visit * batch, tie="")
        yield (
            name,
            Candidate(
                option,
                trial.offer.group,
                trial.engine.parallelism,
                trial.engine.precision,
                batch,
                step_s,
                objective_s,
                waited_s,
                own_s * band.low,
                own_s * band.high,
                trial.device_bytes(batch),
                times.provenance,
            ),
        )


def _option(trial: _Trial, batch: int, own_s: float, wait_s: float) -> Option:
    pool = pool_of(trial.offer, trial.engine, WORK, batch)
    watts = trial.offer.watts * pool.devices_per_replica
    return Option(
        name=pool.name,
        pool=pool,
        latency_s=own_s + wait_s,
        busy_s=own_s / batch,
        port=f"{trial.offer.group.zone}.{trial.engine.precision}",
        joules_per_visit=own_s / batch * watts,
        tie=pool.name,
    )


def _too_slow(trial: _Trial, objective: str, best_s: float, limit_s: float, waited: str = "") -> Rejection:
    """Also told where the other phase is the slow one: then this phase's own best may lie within its limit."""
    place = f"{where(trial.offer.group, trial.engine)} serving both phases"
    message = f"{objective} {limit_s:.3f} s asked, best is {best_s:.3f} s{waited} on {place}"
    if best_s <= limit_s:
        message = f"no batch of {place} meets TTFT and TPOT together"
    return Rejection(place, Reason.TIME, max(best_s, limit_s), limit_s, message)
