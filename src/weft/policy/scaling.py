"""How many replicas each pool should have now: observe → estimate → plan → diff, from one snapshot to actions.

Level-triggered: an action follows from what is there, not from what happened, so a lost one is decided again at the
next look. The plan says what one run a second takes of a pool, in replicas, and how full it meant a replica to be:

    wanted   = (rate + waiting / visits / clear_s) · slow
    needed   = the fewest replicas that carry it

What so many replicas carry comes with the plan's queues (plan.staffing); without that, each may be `utilisation` full:
planned replicas · planned utilisation / planned rate · wanted / utilisation.

The rate is a slow mean that a change begins anew (`RateMean`), and what waits is to be gone in `clear_s`. Less than now
is wanted only where the pool needed no more for `settle_s`, has not been changed for `cool_down_s`, and saves more in
`settle_s` than starting the replica again takes. What is drained is never among those that the load needs ready now.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from math import ceil, exp, sqrt
from types import MappingProxyType

from weft.core.deployment import Deployment, Pool
from weft.core.errors import CapacityError

BEYOND_CHANCE = 2.5
"""Standard deviations of a quick mean of Poisson arrivals."""

SPARE = 1.1
"""Times the load that those who stay must carry."""

SLACK = 0.05
"""Of a replica: no rate is known so well that less would count."""


@dataclass(frozen=True, slots=True)
class ScalingConfig:
    """`most`: replicas of any pool. `idle_s`: after so long without a run a pool may have none (None: never).
    `most_usd_per_hour` and `most_w` cap the whole fleet; where the load needs more, the need is told and not met."""

    utilisation: float = 0.8
    quick_s: float = 5.0
    slow_s: float = 60.0
    settle_s: float = 60.0
    cool_down_s: float = 30.0
    clear_s: float = 10.0
    start_s: float = 30.0
    most: int = 64
    idle_s: float | None = None
    most_usd_per_hour: float | None = None
    most_w: float | None = None

    def __post_init__(self) -> None:
        times = (self.quick_s, self.slow_s, self.clear_s)
        if not 0 < self.utilisation <= 1 or min(times) <= 0 or min(self.settle_s, self.cool_down_s, self.start_s) < 0:
            raise CapacityError(
                subject="scaling",
                problem=f"utilisation {self.utilisation}, times {times}, settle_s {self.settle_s}, cool_down_s "
                f"{self.cool_down_s}, start_s {self.start_s}",
                way_out="take 0 < utilisation ≤ 1, times above 0 and waits that are not negative",
            )


@dataclass(frozen=True, slots=True)
class PoolSeen:
    """`ready` replicas take work, `starting` soon will, `draining` no more. `waiting`: sequences in its queues, beyond
    the places of its replicas. `slow`: how much longer than planned its steps take."""

    name: str
    ready: int
    starting: int = 0
    draining: int = 0
    waiting: int = 0
    slow: float = 1.0


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What is there at `now_s`; `arrived` counts runs since the beginning."""

    now_s: float
    arrived: int
    pools: tuple[PoolSeen, ...]


class Change(StrEnum):
    START = "start"
    DRAIN = "drain"


@dataclass(frozen=True, slots=True)
class Action:
    pool: str
    change: Change
    count: int
    why: str

    def __str__(self) -> str:
        return f"{self.change} {self.count} of {self.pool}: {self.why}"


@dataclass(frozen=True, slots=True)
class Finding:
    """Of one pool: what it is to have and why, and what keeps it from having more."""

    pool: str
    have: int
    needed: int
    why: str
    held: str = ""


@dataclass(frozen=True, slots=True)
class Decision:
    rate_per_s: float
    findings: tuple[Finding, ...]
    actions: tuple[Action, ...]


@dataclass(slots=True)
class _Memory:
    changed_s: float = float("-inf")
    peaks: list[tuple[float, int]] = field(default_factory=list[tuple[float, int]])

    def peak(self, now_s: float, needed: int, settle_s: float) -> int:
        """The most that was needed in the last `settle_s`, now included."""
        self.peaks = [(at_s, count) for at_s, count in self.peaks if at_s > now_s - settle_s and count > needed]
        self.peaks.append((now_s, needed))
        return max(count for _, count in self.peaks)


class RateMean:
    """Runs a second, from counts: a mean over `slow_s`, begun anew where one over `quick_s` is so far from it that
    chance (independent arrivals) does not explain it. So what comes suddenly counts soon, and noise costs nothing."""

    def __init__(self, per_s: float, quick_s: float, slow_s: float) -> None:
        self.per_s = self._quick = per_s
        self._quick_s, self._slow_s = quick_s, slow_s
        self._age_s = slow_s

    def saw(self, arrived: int, passed_s: float) -> None:
        now = arrived / passed_s
        self._age_s += passed_s
        over_s = min(self._slow_s, max(self._quick_s, self._age_s))
        self._quick += (1 - exp(-passed_s / self._quick_s)) * (now - self._quick)
        self.per_s += (1 - exp(-passed_s / over_s)) * (now - self.per_s)
        chance = sqrt(max(self.per_s, 1 / self._slow_s) / (2 * self._quick_s))
        if abs(self._quick - self.per_s) > BEYOND_CHANCE * chance:
            self.per_s, self._age_s = self._quick, 0.0


class Scaling:
    """`decide` at each look; nothing else is asked of its driver than to do what it says."""

    def __init__(
        self,
        deployment: Deployment,
        config: ScalingConfig | None = None,
        carried_per_s: Mapping[str, Sequence[float]] = MappingProxyType({}),
    ) -> None:
        """`carried_per_s`: by pool, the runs a second that 1, 2, … replicas carry."""
        self.config = self._config = config or ScalingConfig()
        self.staff(deployment, carried_per_s)
        self._planned_per_s = deployment.workload.rate_per_s
        self._visits = {
            name: max((route.visits for route in deployment.routes if route.pool == name), default=1.0) or 1.0
            for name in self._pools
        }
        self._memory = {name: _Memory() for name in self._pools}
        self._last: Snapshot | None = None
        self._rate = RateMean(self._planned_per_s, self._config.quick_s, self._config.slow_s)
        self._run_s = 0.0  # when the last run came

    def staff(self, deployment: Deployment, carried_per_s: Mapping[str, Sequence[float]]) -> None:
        """From now on by these paces of the same pools."""
        self._carried = carried_per_s
        self._pools: Mapping[str, Pool] = {pool.name: pool for pool in deployment.pools}

    def decide(self, seen: Snapshot) -> Decision:
        rate = self._rate_per_s(seen)
        findings = [self._finding(each, rate, seen.now_s) for each in seen.pools if each.name in self._pools]
        findings = list(self._capped(findings))
        actions = [action for finding in findings if (action := self._action(finding, seen)) is not None]
        return Decision(rate, tuple(findings), tuple(actions))

    def _rate_per_s(self, seen: Snapshot) -> float:
        last, self._last = self._last, seen
        if last is None:
            self._run_s = seen.now_s
        elif seen.now_s > last.now_s:
            arrived = seen.arrived - last.arrived
            if arrived:
                self._run_s = seen.now_s
            self._rate.saw(arrived, seen.now_s - last.now_s)
        return self._rate.per_s

    def _finding(self, seen: PoolSeen, rate: float, now_s: float) -> Finding:
        config, pool, have = self._config, self._pools[seen.name], seen.ready + seen.starting
        wanted_per_s = (rate + seen.waiting / self._visits[seen.name] / config.clear_s) * seen.slow
        load = pool.replicas * pool.utilisation / self._planned_per_s * wanted_per_s
        needed = self._needed(seen.name, wanted_per_s, load)
        if needed < have:  # who goes must not be missed at once
            needed = min(have, self._needed(seen.name, SPARE * wanted_per_s, SPARE * load))
        why = f"{rate:.3g} runs/s, load {load:.2f} replicas"
        if seen.waiting:
            why += f", {seen.waiting} wait"
        if seen.slow > 1.1:
            why += f", {seen.slow:.1f} times slower than planned"
        if config.idle_s is not None and now_s - self._run_s >= config.idle_s and not seen.waiting:
            return Finding(seen.name, have, 0, f"no run for {now_s - self._run_s:.0f} s")
        if needed > config.most:
            return Finding(seen.name, have, config.most, why, f"needs {needed}, the most is {config.most}")
        peak = self._memory[seen.name].peak(now_s, needed, config.settle_s)
        if peak > needed and have > needed:
            return Finding(
                seen.name, have, min(peak, have), why, f"needed {peak} within the last {config.settle_s:g} s"
            )
        return Finding(seen.name, have, needed, why)

    def _needed(self, pool: str, wanted_per_s: float, load: float) -> int:
        carried = self._carried.get(pool)
        if not carried:
            return max(1, ceil(load / self._config.utilisation - SLACK))
        enough = (
            count for count, most_per_s in enumerate(carried, 1) if wanted_per_s <= most_per_s * (1 + SLACK / count)
        )
        return next(enough, max(len(carried) + 1, ceil(load / self._config.utilisation)))

    def _capped(self, findings: Iterable[Finding]) -> Iterable[Finding]:
        """Those that need most beyond what they have come last: caps are shared out replica by replica."""
        found = list(findings)
        granted = {each.pool: min(each.needed, each.have) for each in found}
        wishes = sorted(
            (number / max(1, each.needed), each.pool)
            for each in found
            for number in range(granted[each.pool], each.needed)
        )
        held: dict[str, str] = {}
        for _, pool in wishes:
            over = self._over({**granted, pool: granted[pool] + 1})
            if over:
                held[pool] = over
            else:
                granted[pool] += 1
        for each in found:
            said = "; ".join(part for part in (each.held, held.get(each.pool, "")) if part)
            yield Finding(each.pool, each.have, granted[each.pool], each.why, said)

    def _over(self, counts: Mapping[str, int]) -> str:
        config = self._config
        usd = sum(self._pools[name].usd_per_hour * count for name, count in counts.items())
        watts = sum((self._pools[name].busy_w or 0.0) * count for name, count in counts.items())
        if config.most_usd_per_hour is not None and usd > config.most_usd_per_hour:
            return f"one more makes {usd:.2f} $/h, the most is {config.most_usd_per_hour:g}"
        if config.most_w is not None and watts > config.most_w:
            return f"one more makes {watts:.0f} W, the most is {config.most_w:g}"
        return ""

    def _action(self, finding: Finding, seen: Snapshot) -> Action | None:
        memory, now = self._memory[finding.pool], seen.now_s
        if finding.needed > finding.have:
            memory.changed_s = now
            return Action(finding.pool, Change.START, finding.needed - finding.have, finding.why)
        spare = self._spare(finding, next(each for each in seen.pools if each.name == finding.pool))
        config = self._config
        pays = config.settle_s >= config.start_s  # both at the replica's price
        if spare <= 0 or now - memory.changed_s < config.cool_down_s or not pays:
            return None
        memory.changed_s = now
        return Action(finding.pool, Change.DRAIN, spare, finding.why)

    def _spare(self, finding: Finding, seen: PoolSeen) -> int:
        """Of the ready ones only: what is starting does not carry the load yet."""
        return min(finding.have - finding.needed, seen.ready - min(finding.needed, seen.ready))
