"""Why a plan does not hold on a load, read off what was measured, and which limit of the planner answers it.

A time that is too long although nothing else runs is the step's own: the planner may count on less time there. Else
something was in the way: a line that hand-offs wait for, or a pool in which too much comes together. Then the planner
keeps those less busy, so that there is at least one more of them.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum

from weft.control.trial import RUN, Measured, Timing, tails
from weft.core.deployment import Deployment, Pool
from weft.core.summary import CallSummary, LinkSummary, Overload, PoolSummary
from weft.core.units import pretty_seconds
from weft.sim.simulate import Outcome

STEP_OF_POOLS = 8
"""A pool of so many replicas, or fewer, gets one more; larger ones grow by the same share."""


class Kind(StrEnum):
    SLOW = "slow"
    """A step takes too long by itself."""

    QUEUE = "queue"
    """A pool has too much to do at times."""

    LINE = "line"
    """Hand-offs wait for a line."""


@dataclass(frozen=True, slots=True)
class Cause:
    """`excess`: how far the worst time is from its bound, as a factor. `tighten`: what compiler.tighten reads."""

    kind: Kind
    subject: str
    excess: float
    tighten: tuple[str, ...]
    why: str


def causes(measured: Measured, alone: Outcome) -> list[Cause]:
    """Worst first, one for each pool, line or step."""
    found = list(_of_overload(measured))
    timings = [timing for timing in measured.timings() if timing.missed]
    floors = tails(alone, {(each.subject, each.kind): each.share for each in timings})
    look = _Look(measured, alone)
    found += [look.at(each, floors[each.subject, each.kind]) for each in timings]
    worst: dict[tuple[Kind, str], Cause] = {}
    for cause in sorted(found, key=lambda each: -each.excess):
        worst.setdefault((cause.kind, cause.subject), cause)
    return list(worst.values())


def _of_overload(measured: Measured) -> Iterator[Cause]:
    overload = measured.summary.overload
    if overload is not None:
        pool, short = measured.deployment.pool(overload.pool), overload.arrived_per_s / max(overload.ended_per_s, 1e-9)
        yield _queue(measured.deployment, pool, short, _overloaded(overload), short)


def _overloaded(found: Overload) -> str:
    return f"{found.arrived_per_s:.3g} runs/s came and {found.ended_per_s:.3g} ended"


def _queue(deployment: Deployment, pool: Pool, excess: float, said: str, times: float = 1.0) -> Cause:
    """`times`: how many times as many replicas are known to be needed."""
    more = max(pool.replicas + math.ceil(pool.replicas / STEP_OF_POOLS), math.ceil(pool.replicas * times - 1e-9))
    limit = f"{pool.utilisation * pool.replicas / more:.4g}"
    steps = [route.step for route in deployment.routes if route.pool == pool.name and not route.step.endswith(".kv")]
    busy = f"may be {float(limit):.0%} busy, was to be {pool.utilisation:.0%}"
    why = f"{said}: {pool.name} {busy} ({pool.replicas} → {more} replicas, if of the same kind)"
    return Cause(Kind.QUEUE, pool.name, excess, tuple(f"{step}.utilisation={limit}" for step in steps), why)


@dataclass(frozen=True)
class _Look:
    """Both simulations side by side."""

    measured: Measured
    alone: Outcome

    @property
    def deployment(self) -> Deployment:
        return self.measured.deployment

    def at(self, timing: Timing, floor_s: float) -> Cause:
        said = f"{_said(timing)} {pretty_seconds(timing.tail_s)} (p{_percent(timing.share)}), "
        said += f"asked {pretty_seconds(timing.bound_s)}, alone {pretty_seconds(floor_s)}"
        if floor_s > timing.bound_s:
            return self._slow(timing, floor_s, said)
        excess = timing.tail_s / timing.bound_s
        if timing.subject == RUN:
            return self._run(excess, said)
        if timing.kind == "tpot_s" and (line := self._line(timing.subject)) is not None:
            return self._narrow(line, timing.subject, excess, said)
        return self._full(timing, excess, said)

    def _slow(self, timing: Timing, floor_s: float, said: str) -> Cause:
        faster_s = timing.promised_s * timing.bound_s / floor_s
        step = "" if timing.subject == RUN else f"{timing.subject}."
        words = f"{step}{timing.kind.replace('_p95', '')}={faster_s:.4g}"
        why = f"{said}: the step itself is too slow, the plan counted on {pretty_seconds(timing.promised_s)}"
        return Cause(Kind.SLOW, f"{timing.subject} {timing.kind}", floor_s / timing.bound_s, (words,), why)

    def _full(self, timing: Timing, excess: float, said: str) -> Cause:
        phase = "prefill" if timing.kind == "ttft_s" else "decode"
        pool = self.deployment.pool(self.deployment.route(f"{timing.subject}.{phase}").pool)
        call = _call(self.measured.outcome, timing.subject)
        seen = _pool(self.measured.outcome, pool.name)
        lost = f", {call.preempted:,} calls lost their cache for want of memory" if call.preempted else ""
        told = f"{said}; {seen.waiting_max:,} waited there at most{lost}"
        return _queue(self.deployment, pool, excess, told)

    def _line(self, call: str) -> LinkSummary | None:
        """The line, if waiting for it is most of what decoding lost."""
        handoff = next((each for each in self.deployment.handoffs if each.source == f"{call}.prefill"), None)
        if handoff is None:
            return None
        loaded, free = _call(self.measured.outcome, call), _call(self.alone, call)
        gaps = max(1.0, loaded.output_tokens / max(1, loaded.e2e_s.count) - 1)
        lost_s = (loaded.tpot_s.mean - free.tpot_s.mean) * gaps
        links = {each.link: each for each in self.measured.summary.links}
        line = links[handoff.link]
        return line if line.waited_s > lost_s / 2 else None

    def _narrow(self, line: LinkSummary, call: str, excess: float, said: str) -> Cause:
        handoff = next(each for each in self.deployment.handoffs if each.source == f"{call}.prefill")
        ends = [self.deployment.pool(name) for name in (handoff.source_pool, handoff.target_pool)]
        ports = min(pool.replicas for pool in ends) if ends[0].zone == ends[1].zone else 1
        capacity = next(link.bytes_per_s for link in self.deployment.links if link.id == line.link)
        use = line.bytes_per_s / (ports * capacity)
        limit = min(1.0, use * ports / (ports + 1))
        why = (
            f"{said}; a transfer waited {pretty_seconds(line.waited_s)} for {line.link} ({use:.0%} used, {ports} ports)"
        )
        return Cause(Kind.LINE, line.link, excess, (f"link_utilisation={limit:.4g}",), why)

    def _run(self, excess: float, said: str) -> Cause:
        """The pool in which runs lose most."""
        lost_s = self._lost_s()
        name = max(lost_s, key=lambda pool: lost_s[pool])
        told = f"{said}; a run loses {pretty_seconds(lost_s[name])} in {name}"
        return _queue(self.deployment, self.deployment.pool(name), excess, told)

    def _lost_s(self) -> Mapping[str, float]:
        """Pool → mean seconds of a run beyond those alone."""
        lost = dict.fromkeys((pool.name for pool in self.deployment.pools), 0.0)
        loaded, free = (_step_times(each) for each in (self.measured.outcome, self.alone))
        for step, seconds in loaded.items():
            lost[self.deployment.route(step).pool] += seconds - free.get(step, 0.0)
        return lost


def _step_times(outcome: Outcome) -> Mapping[str, float]:
    """Mean seconds that a run spends in each step; what comes after a first token is the decode's."""
    summary = outcome.summary
    runs = max(1, summary.completed)
    times = {each.step: each.e2e_s.mean * each.e2e_s.count / runs for each in summary.steps}
    for call in summary.calls:
        times[f"{call.call}.prefill"] = call.ttft_s.mean * call.ttft_s.count / runs
        after_s = call.e2e_s.mean - call.ttft_s.mean
        times[f"{call.call}.decode"] = after_s * call.e2e_s.count / runs
    return {step: seconds for step, seconds in times.items() if not step.endswith(".kv")}


def _call(outcome: Outcome, name: str) -> CallSummary:
    return next(call for call in outcome.summary.calls if call.call == name)


def _pool(outcome: Outcome, name: str) -> PoolSummary:
    return next(pool for pool in outcome.summary.pools if pool.pool == name)


def _said(timing: Timing) -> str:
    if timing.subject == RUN:
        return "a run takes"
    return f"{timing.subject}: {timing.kind.removesuffix('_s').upper()}"


def _percent(share: float) -> str:
    return f"{100 * share:.4g}"
