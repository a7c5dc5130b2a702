"""What runs are promised: how long they take, in expectation or for a share of them, over the ways that they may go.

A course is a way through the agent: how often it visits each block, and each hand-off between blocks. Given the steps'
times, its time is a sum. `share` of the runs must take a course that takes at most `limit_s`; courses that are not
listed count as late. An expectation is the one course that visits everything as often as a run does on average.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from weft.core.errors import PlanError

P95 = 0.95

SAME_SHARE = 1e-9
"""What sums of probabilities may be off by."""


@dataclass(frozen=True, slots=True)
class Course:
    """`visits` by block; `moves` by (source, target) of hand-offs between blocks."""

    probability: float
    visits: Mapping[str, float]
    moves: Mapping[tuple[str, str], float]

    def within(self, other: "Course") -> bool:
        """It visits nothing more often, so it never takes longer."""
        blocks = all(times <= other.visits.get(name, 0.0) for name, times in self.visits.items())
        return blocks and all(times <= other.moves.get(ends, 0.0) for ends, times in self.moves.items())


@dataclass(frozen=True, slots=True)
class Promise:
    """`name` is what the objective calls it, with its agent where there are several. `runs` is the part of all runs
    that it is made to. Without a penalty the limit is hard; with one, each of those runs pays for each second beyond
    it. `with_tails`: steps take their `tail_s` too."""

    name: str
    limit_s: float
    courses: tuple[Course, ...]
    share: float = 1.0
    with_tails: bool = False
    penalty_usd_per_s: float | None = None
    runs: float = 1.0

    def __post_init__(self) -> None:
        listed = sum(course.probability for course in self.courses)
        if listed < self.share - SAME_SHARE:
            raise PlanError(
                subject=f"promise {self.name}",
                problem=f"is made to {self.share:.2%} of runs, only {listed:.2%} take a course that was followed",
                way_out="bound the program's loops (at_most), or promise less",
            )

    @property
    def hard(self) -> bool:
        return self.penalty_usd_per_s is None

    def quantile_s(self, times_s: Sequence[float]) -> float:
        """The least time within which `share` of the runs end, given the time of each course; infinite if the listed
        courses are too few."""
        done = 0.0
        for time_s, course in sorted(zip(times_s, self.courses, strict=True), key=lambda pair: pair[0]):
            done += course.probability
            if done >= self.share - SAME_SHARE:
                return time_s
        return float("inf")
