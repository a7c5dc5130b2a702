"""A plan under a load: does it hold, which times does it miss, and what are these without any other load?"""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import islice

from msgspec import structs

from weft.core.deployment import Deployment
from weft.core.summary import Summary
from weft.sim.simulate import Outcome, SimConfig, simulate
from weft.traces.load import Load, open_load
from weft.traces.request import Request

ALONE_RUNS, ALONE_GAP_S = 200, 3600.0
"""Without other load: the first runs of the trace, so far apart that each has the fleet to itself."""

P95 = 0.95

OnProgress = Callable[[int, float], None]


@dataclass(frozen=True, slots=True)
class Trial:
    """`target`: the share of runs that must end within the objective. `runs`: how many come at most."""

    load: Load
    runs: int
    target: float = P95
    config: SimConfig = field(default_factory=SimConfig)

    def run(
        self, deployment: Deployment, on_progress: OnProgress | None = None, *, to_the_end: bool = False
    ) -> "Measured":
        """Ends early where the target is out of reach, unless `to_the_end`."""
        stream = open_load(self.load)
        most_late = None if to_the_end else math.floor((1 - self.target) * self.runs + 1e-9)
        config = replace(self.config, source=stream.source, most_late=most_late)
        outcome = simulate(deployment, stream.requests, config, on_progress=on_progress)
        return Measured(deployment, outcome, self)

    def alone(self, deployment: Deployment) -> Outcome:
        config = replace(self.config, stop_overload=False)
        return simulate(deployment, _apart(open_load(self.load).requests), config)


def _apart(requests: Iterator[Request]) -> Iterator[Request]:
    for number, request in enumerate(islice(requests, ALONE_RUNS)):
        yield structs.replace(request, at_s=number * ALONE_GAP_S)


@dataclass(frozen=True, slots=True)
class Timing:
    """A time that the objective bounds. `subject` is a model call, or the whole run; `kind` a field of Slo. 95 % of
    visits took `p95_s` at most, the target's share of them `target_s`; `promised_s` is what the planner counted on.
    `tail_s` and `share`: what that share of visits took at most, where that share of each time in bounds is enough for
    the target."""

    subject: str
    kind: str
    bound_s: float
    p95_s: float
    target_s: float
    share: float
    tail_s: float
    promised_s: float

    @property
    def missed(self) -> bool:
        return self.tail_s > self.bound_s


@dataclass(frozen=True)
class Measured:
    """What came of a trial."""

    deployment: Deployment
    outcome: Outcome
    trial: Trial

    @property
    def summary(self) -> Summary:
        return self.outcome.summary

    @property
    def cut(self) -> bool:
        """It ended early: too many were late, or queues grew without bound."""
        return self.summary.unfinished > 0 or self.summary.arrived == 0

    @property
    def attainment(self) -> float:
        """Share of runs that ended within the objective; at most that, where it was cut."""
        good = self.outcome.recorder.good
        if not self.cut:
            return good / max(1, self.summary.completed)
        late = self.summary.completed - good
        return min(1 - late / max(self.trial.runs, self.summary.arrived), self.trial.target)

    @property
    def holds(self) -> bool:
        promised_s = self.deployment.slo.e2e_p95_s
        kept = promised_s is None or self.run_quantile_s(P95) <= promised_s
        return not self.cut and kept and self.attainment >= self.trial.target - 1e-12

    def run_quantile_s(self, share: float) -> float:
        return self.outcome.recorder.e2e.quantiles((share,))[0] if len(self.outcome.recorder.e2e) else math.inf

    def timings(self) -> tuple[Timing, ...]:
        """Each bounded time. Where each is missed by no more than an equal part of what the target allows, all runs but
        those are in time (the union bound): so a miss shows in at least one of them."""
        return tuple(_timings(self))


def tails(outcome: Outcome, shares: Mapping[tuple[str, str], float]) -> dict[tuple[str, str], float]:
    """(subject, kind) → what that share of its visits take at most; NaN where nothing was measured."""
    found: dict[tuple[str, str], float] = {}
    for (subject, kind), share in shares.items():
        columns = outcome.recorder.calls.get(subject)
        column = outcome.recorder.e2e if columns is None else columns.ttft if kind == "ttft_s" else columns.tpot
        found[subject, kind] = column.quantiles((share,))[0] if len(column) else math.nan
    return found


RUN = "run"


def _timings(measured: Measured) -> Iterator[Timing]:
    outcome, slo = measured.outcome, measured.deployment.slo
    runs = max(1, measured.summary.completed)
    visits = {call.call: call.ttft_s.count / runs for call in measured.summary.calls}
    bounds = [("ttft_s", slo.ttft_s), ("tpot_s", slo.tpot_s)]
    bounded = {(call, kind): (limit_s, times) for call, times in visits.items() for kind, limit_s in bounds if limit_s}
    bounded |= {(RUN, "e2e_s"): (slo.e2e_s, 1.0)} if slo.e2e_s else {}
    allowed = (1 - measured.trial.target) / max(1.0, sum(times for _, times in bounded.values()))
    shares = dict.fromkeys(bounded, 1 - allowed)
    if slo.e2e_p95_s:
        bounded[RUN, "e2e_p95_s"], shares[RUN, "e2e_p95_s"] = (slo.e2e_p95_s, 1.0), P95
    tail = tails(outcome, shares)
    p95, target = (tails(outcome, dict.fromkeys(bounded, share)) for share in (P95, measured.trial.target))
    for key, (limit_s, _) in bounded.items():
        if not math.isnan(tail[key]):
            seen = (p95[key], target[key], shares[key], tail[key])
            yield Timing(*key, limit_s or 0.0, *seen, _promised_s(measured.deployment, key))


def _promised_s(deployment: Deployment, key: tuple[str, str]) -> float:
    subject, kind = key
    if kind == "ttft_s":
        route = deployment.route(f"{subject}.prefill")
        return route.latency_s + route.wait_s
    if kind == "tpot_s":
        return deployment.route(f"{subject}.decode").s_per_output_token
    return deployment.answer.e2e_p95_s or deployment.answer.e2e_s if kind == "e2e_p95_s" else deployment.answer.e2e_s


@dataclass(frozen=True, slots=True)
class Burst:
    """The stretch in which the fleet filled most: so many runs a second came, `mean_per_s` do on average."""

    per_s: float
    lasts_s: float
    mean_per_s: float
    in_system: int


def worst_burst(measured: Measured) -> Burst:
    """From when the fleet was last no fuller than on average, to when it was fullest."""
    kept, tick_s = measured.outcome.samples.kept, 1e-12
    inside = [sample.arrived - sample.ended for sample in kept]
    usual = sum(inside) / len(inside)
    top = max(range(len(kept)), key=lambda at: inside[at])
    begin = max((at for at in range(top) if inside[at] <= usual), default=0)
    lasts_s = max((kept[top].at - kept[begin].at) * tick_s, tick_s)
    span_s = max((kept[-1].at - kept[0].at) * tick_s, tick_s)
    per_s = (kept[top].arrived - kept[begin].arrived) / lasts_s
    return Burst(per_s, lasts_s, (kept[-1].arrived - kept[0].arrived) / span_s, inside[top])
