"""Bound and search in turn, until they are near enough to each other or the time is over."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from weft.plan.decompose.anneal import Annealing, Found, candidates
from weft.plan.decompose.bound import Bound, bound
from weft.plan.decompose.slots import Slots, slots
from weft.plan.decompose.state import Fines, State
from weft.plan.decompose.tables import Tables, tables
from weft.plan.problem import Option, PlacementProblem

BOUND_STEPS, BOUND_STEPS_FROM_PLAN, HUB_STEPS = 120, 100, 60
"""Of the ascent: for the first bound, and for each port of the hub."""

MOST_PORTS = 16
"""Of the hub, to bound one by one."""

CHANGES, CHANGES_FROM_PLAN = 400, 70
"""For each task in the first round, from nothing and from a plan; each round has twice as many as the one before."""

ROUNDS, ROUNDS_FROM_PLAN = 4, 5

WARMTH = 0.05
"""What a change may cost at the start, in parts of a task's mean cost."""


@dataclass(frozen=True, slots=True)
class Searched:
    """The best choice found, if any, and what none can be cheaper than."""

    choice: Mapping[str, Option] | None
    objective: float
    bound: float


def gap_to(bound: float, objective: float) -> float:
    """Relative, as a true statement of what no placement can save."""
    return max(0.0, (objective - bound) / objective) if objective > 0 else 0.0


def search(
    problem: PlacementProblem, previous: Mapping[str, str] | None, enough: float, left_s: Callable[[], float]
) -> Searched | None:
    """`previous`: task → option name, where the search begins; tasks or options that are no more are passed over.
    `enough`: the relative gap that ends it. None where no options agree with the hand-offs."""
    parts = slots(tables(problem))
    first = bound(parts, BOUND_STEPS if previous is None else BOUND_STEPS_FROM_PLAN)
    if first is None:
        return None
    begun = _Search(parts, [first], first.value, enough, left_s)
    found = begun.from_nothing() if previous is None else begun.from_plan(previous)
    choice = found and {
        task.name: task.options[at - int(begin)]
        for task, at, begin in zip(problem.tasks, found.option, parts.tables.first, strict=False)
    }
    return Searched(choice, found.objective if found else 0.0, begun.value)


@dataclass(slots=True)
class _Search:
    """`bounds`: the first one, or those of each port of the hub, lowest first; `value`: what they prove together."""

    slots: Slots
    bounds: list[Bound]
    value: float
    enough: float
    left_s: Callable[[], float]
    best: Found | None = None
    rounds: int = 0

    @property
    def tables(self) -> Tables:
        return self.slots.tables

    def from_nothing(self) -> Found | None:
        self.by_hub()
        for _ in range(ROUNDS):
            near = self.bounds[0]
            start = self.best.option if self.best else tuple(near.option.tolist())
            self.anneal(start, CHANGES)
            if self.is_over(self.best):
                break
            self.by_hub()
        return self.best

    def from_plan(self, previous: Mapping[str, str]) -> Found | None:
        """Without bounds for each port: they would take half of the second and gain a tenth of a per cent."""
        start = _chosen(self.tables, previous, self.bounds[0])
        for _ in range(ROUNDS_FROM_PLAN):
            self.anneal(self.best.option if self.best else start, CHANGES_FROM_PLAN)
            if self.is_over(self.best):
                break
        return self.best

    def is_over(self, found: Found | None) -> bool:
        """Near enough, or out of time; the first round is never cut, so that a busy machine finds the same."""
        if found and gap_to(self.value, found.objective) <= self.enough:
            return True
        return self.rounds > 0 and self.left_s() <= 0

    def by_hub(self) -> None:
        """Bounds for each port of the hub, or better ones."""
        hub = self.slots.hub
        ports = dict.fromkeys(self.slots.port[self.slots.task_begins[hub] : self.slots.task_begins[hub + 1]].tolist())
        if not 1 < len(ports) <= MOST_PORTS or self.left_s() <= 0:
            return
        known = {each.hub_port: each for each in self.bounds}
        better = [_better(self.slots, known.get(port), self.bounds[0], port) for port in ports]
        found = [each for each in better if each]
        if found:
            self.bounds = sorted(found, key=lambda each: each.value)
            self.value = max(self.value, self.bounds[0].value)

    def anneal(self, start: Sequence[int], changes: int) -> None:
        of, near = self.tables, self.bounds[0]
        among = candidates(of, near, start)
        annealing = Annealing(of, near, among, _warmth(of, near, start), seed=self.rounds, best=self.best)
        self.best = annealing.run(start, changes * of.tasks * 2**self.rounds, self.is_over)
        self.rounds += 1


def _better(of: Slots, known: Bound | None, nearest: Bound, port: int) -> Bound | None:
    found = bound(of, HUB_STEPS, (known or nearest).prices, port)
    return found if found is None or known is None or found.value > known.value else known


def _warmth(of: Tables, near: Bound, start: Sequence[int]) -> float:
    """From what the start costs, or from the bound where it costs nothing."""
    at_start = State(of, start, Fines([], 0.0, 0.0)).objective
    return WARMTH * (max(at_start, near.value) or 1.0) / of.tasks


def _chosen(of: Tables, previous: Mapping[str, str], near: Bound) -> tuple[int, ...]:
    """The previous options, where there still are such; else those that prices choose."""
    chosen: list[int] = []
    for at, task in enumerate(of.problem.tasks):
        wanted = previous.get(task.name)
        same = (int(of.first[at]) + place for place, option in enumerate(task.options) if option.name == wanted)
        chosen.append(next((each for each in same if of.possible[each]), int(near.option[at])))
    return tuple(chosen)
