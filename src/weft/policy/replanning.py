"""When the planner is asked again, and when its answer is worth a move.

The planner is asked when the load has gone far enough from what the present plan was made for, and not again soon. Its
answer is taken where it saves enough: over the horizon more than the move costs, while both fleets are paid for, and at
least a share of the price, so that noise moves nobody. Where the present kinds of pools cannot carry the load at all,
any answer that can is taken.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from weft.core.errors import CapacityError
from weft.core.units import HOUR_S
from weft.core.workload import CHANCE

LEAST_CHANCE = 0.1
"""Chances are not known so well that less would count."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """What comes: runs a second, and mean sizes of steps, as a Workload has them. `paces`: how many times the cost
    model's time phases take, by core.pace.pace_key; 1 where it is missing."""

    rate_per_s: float
    sizes: Mapping[str, Mapping[str, float]] = field(default_factory=dict[str, Mapping[str, float]])
    paces: Mapping[str, float] = field(default_factory=dict[str, float])

    def drift(self, planned: "Estimate") -> tuple[float, str]:
        """The largest distance from what was planned for, relative to that, and of what."""
        both = {"runs a second": (self.rate_per_s, planned.rate_per_s)}
        for step, sizes in self.sizes.items():
            then = planned.sizes.get(step, {})
            both |= {f"{step}.{key}": (now, then[key]) for key, now in sizes.items() if key in then}
        for key in {*self.paces, *planned.paces}:
            both[f"times that {key} takes"] = (self.paces.get(key, 1.0), planned.paces.get(key, 1.0))
        far = {what: _distance(what, now, then) for what, (now, then) in both.items()}
        worst = max(far, key=lambda what: far[what])
        return far[worst], f"{worst} {both[worst][0]:.3g}, planned for {both[worst][1]:.3g}"


def _distance(what: str, now: float, then: float) -> float:
    """A chance is relative to the rarer side: a loop that ends with 0.1 and not 0.2 runs twice as long."""
    if f".{CHANCE}" in what:
        return abs(now - then) / max(LEAST_CHANCE, min(then, 1 - then))
    return abs(now / then - 1) if then > 0 else 0.0


@dataclass(frozen=True, slots=True)
class ReplanConfig:
    """`drift`: how far the load must be from the plan's. `settle_s`: for so long. `every_s`: between two questions.
    `gain`: least share of the price that a move saves; `horizon_s`: within which it must pay; `move_s`: both fleets are
    paid for so long."""

    drift: float = 0.25
    settle_s: float = 10.0
    every_s: float = 60.0
    gain: float = 0.05
    horizon_s: float = 600.0
    move_s: float = 60.0

    def __post_init__(self) -> None:
        if self.drift <= 0 or self.horizon_s <= 0 or min(self.settle_s, self.every_s, self.gain, self.move_s) < 0:
            problem, way_out = f"{self}", "take drift and horizon_s above 0 and no negative times"
            raise CapacityError(subject="re-planning", problem=problem, way_out=way_out)


@dataclass(frozen=True, slots=True)
class Verdict:
    move: bool
    why: str


class Replanning:
    """`wants` at each look; `asked` when the planner is; `weigh` its answer; `moved` when the fleet is as it says."""

    def __init__(self, planned: Estimate, config: ReplanConfig | None = None) -> None:
        self._config = config or ReplanConfig()
        self._planned = planned
        self._far_s: float | None = None
        self._asked_s = float("-inf")

    def wants(self, now_s: float, seen: Estimate) -> str:
        """Why the planner should be asked now; empty: it should not."""
        drift, what = seen.drift(self._planned)
        if drift < self._config.drift:
            self._far_s = None
            return ""
        if self._far_s is None:
            self._far_s = now_s
        settled = now_s - self._far_s >= self._config.settle_s
        return what if settled and now_s - self._asked_s >= self._config.every_s else ""

    def asked(self, now_s: float) -> None:
        self._asked_s = now_s

    def weigh(self, present_usd_per_hour: float, held: str, offered_usd_per_hour: float) -> Verdict:
        """Both prices are for the same load; `held` says why the present pools cannot carry it (empty: they can)."""
        prices = f"{present_usd_per_hour:.2f} $/h as it is, {offered_usd_per_hour:.2f} as planned anew"
        if held:
            return Verdict(True, f"{prices}; the present pools do not suffice: {held}")
        saved = present_usd_per_hour - offered_usd_per_hour
        if saved < self._config.gain * present_usd_per_hour:
            return Verdict(False, f"{prices}: less than {self._config.gain:.0%} is saved")
        gained = saved * self._config.horizon_s / HOUR_S
        costs = offered_usd_per_hour * self._config.move_s / HOUR_S
        over = f"{prices}: saves {gained:.4f} $ in {self._config.horizon_s:g} s, the move costs {costs:.4f} $"
        return Verdict(gained > costs, over)

    def moved(self, planned: Estimate) -> None:
        self._planned, self._far_s = planned, None
