"""What would make an impossible request possible: the smallest change of each of its limits, alone or together.

Each answer is found by planning again: the least time, energy or number of further devices with everything else kept;
the least TTFT and TPOT among those that options have; the largest rate. Where no single change is enough, limits are
given up one after another and each is then made as small as it can be, so that the set told is one that works.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from weft.core.errors import NoPlacementError, PlanError
from weft.plan.build import Planned, build
from weft.plan.diagnose import HAND_OFFS, round_up
from weft.plan.evaluate import Proof, placement
from weft.plan.formulation import Formulation
from weft.plan.problem import Objective, Placement, PlacementProblem, Task
from weft.plan.prune import pruned
from weft.plan.requests import LeafTask, PlanRequest, TaskKind
from weft.plan.solve import TIME_LIMIT_S, solve

EACH_S = 5.0
"""Of solver time for one question: a change that takes longer to find is not told."""

ONE_EACH_USD = 1e3
"""Every device is as dear as every other, so that the least bill is the least number."""

ANY_GAP, LEAST_GAP = 1.0, 1e-4
RATE_STEPS = 7
"""Halvings of the rate's bracket: the largest rate is told within 1 %."""


def decide(
    request: PlanRequest, time_limit_s: float = TIME_LIMIT_S, choose: Callable[[Planned], Placement] | None = None
) -> tuple[Planned, Placement]:
    """The options and the best placement, or what `choose` makes of them; NoPlacementError with what would make the
    request possible."""
    try:
        planned = build(request)
        return planned, choose(planned) if choose else solve(planned.problem, time_limit_s)
    except NoPlacementError as refused:
        changes = ways_out(request)
        if not changes:
            raise
        if refused.subject == HAND_OFFS:
            changes = f"{refused.way_out}; or else {changes}"
        raise NoPlacementError(subject=refused.subject, problem=refused.problem, way_out=changes) from refused


def ways_out(request: PlanRequest) -> str:
    """In words with numbers; empty where no limit is at fault."""
    try:
        elastic = _Elastic(request, build(replace(request, slo=replace(request.slo, ttft_s=None, tpot_s=None))))
    except PlanError:
        return ""
    asked = elastic.asked
    alone = [words for limit in elastic.kinds if (words := elastic.told(limit, elastic.relaxed(asked, (limit,))))]
    if request.rate_per_s and (slower := _largest_rate(request)):
        alone.append(f"lower the rate to {slower} runs/s")
    if alone:
        return alone[0] if len(alone) == 1 else f"any one of these is enough: {'; '.join(alone)}"
    found = elastic.relaxed(asked, elastic.kinds)
    together = [words for limit in elastic.kinds if (words := elastic.told(limit, found))]
    return f"together these are enough: {'; '.join(together)}" if together else ""


@dataclass(frozen=True, slots=True)
class Limits:
    """What a plan must keep. `more`: device class → devices beyond the inventory; None: as many as one likes."""

    ttft_s: float = math.inf
    tpot_s: float = math.inf
    e2e_s: float = math.inf
    joules: float = math.inf
    more: Mapping[str, int] | None = None


@dataclass(frozen=True)
class _Elastic:
    """A request with all its options, whatever their TTFT and TPOT."""

    request: PlanRequest
    planned: Planned

    @property
    def asked(self) -> Limits:
        slo, problem = self.request.slo, self.planned.problem
        hard_s = problem.e2e_limit_s if problem.hard_limit else None
        numbers = (
            math.inf if each is None else each for each in (slo.ttft_s, slo.tpot_s, hard_s, problem.energy_limit_j)
        )
        return Limits(*numbers, more={})

    @property
    def kinds(self) -> tuple[str, ...]:
        """The limits that are asked, those that cost money first: without them there is most to gain elsewhere."""
        times = [name for name in ("joules", "e2e_s", "ttft_s", "tpot_s") if math.isfinite(getattr(self.asked, name))]
        return ("more", *times)

    def relaxed(self, limits: Limits, kinds: Sequence[str]) -> Limits | None:
        """With these kinds given up, then made as small as they can be one after another."""
        freed = replace(limits, **dict.fromkeys(kinds, math.inf) | ({"more": None} if "more" in kinds else {}))
        for kind in kinds:
            least = self.least(kind, freed)
            if least is None:
                return None
            freed = least
        return freed

    def least(self, kind: str, limits: Limits) -> Limits | None:
        if kind in ("ttft_s", "tpot_s"):
            return self._least_step(kind, limits)
        objective = {"joules": Objective.JOULES_PER_REQUEST, "e2e_s": Objective.E2E_S, "more": Objective.USD_TO_BUY}
        found = self.attempt(limits, objective[kind], LEAST_GAP)
        if found is None:
            return None
        numbers = {"joules": found.joules_per_request, "e2e_s": found.e2e_s, "more": found.bought}
        value = numbers[kind]
        return replace(limits, **{kind: value if isinstance(value, Mapping) else value * (1 + 1e-9)})

    def _least_step(self, kind: str, limits: Limits) -> Limits | None:
        """Among the times that options have: none between two of them makes a difference."""
        phase = TaskKind.PREFILL if kind == "ttft_s" else TaskKind.DECODE
        tasks = [task for task in self.request.tasks if task.kind is phase]
        times = sorted({each.objective_s for task in tasks for each in self.planned.candidates[task.name].values()})

        def enough(at: int) -> bool:
            return self.attempt(replace(limits, **{kind: times[at]}), Objective.E2E_S, ANY_GAP) is not None

        at = _first(enough, len(times))
        return None if at is None else replace(limits, **{kind: times[at]})

    def attempt(self, limits: Limits, objective: Objective, gap: float) -> Placement | None:
        """The best placement within the limits, or None where none is found. Whole replicas for each task alone tighten
        the relaxation, but where devices are counted by the thousand they only hide the optimum."""
        return attempt(self._within(limits, objective), gap, tight=limits.more is not None)

    def _within(self, limits: Limits, objective: Objective) -> PlacementProblem:
        problem = self.planned.problem
        stock = {name: count + (limits.more or {}).get(name, 0) for name, count in problem.inventory.items()}
        return replace(
            problem,
            tasks=tuple(self._kept(task, limits) for task in problem.tasks),
            objective=objective,
            inventory=stock,
            market=dict.fromkeys(stock, ONE_EACH_USD) if limits.more is None else {},
            budget_usd=None,
            e2e_limit_s=limits.e2e_s if math.isfinite(limits.e2e_s) else None,
            penalty_usd_per_s=None,
            energy_limit_j=limits.joules if math.isfinite(limits.joules) else None,
        )

    def _kept(self, task: Task, limits: Limits) -> Task:
        kind = self._leaf(task.name).kind
        most = {TaskKind.PREFILL: limits.ttft_s, TaskKind.DECODE: limits.tpot_s}.get(kind, math.inf)
        found = self.planned.candidates[task.name]
        return replace(task, options=tuple(each for each in task.options if found[each.name].objective_s <= most))

    def _leaf(self, name: str) -> LeafTask:
        return self.request.task(name)

    def told(self, kind: str, found: Limits | None) -> str:
        """The change of one limit in words that can be typed back in; empty where it changes nothing."""
        if found is None or getattr(found, kind) == getattr(self.asked, kind):
            return ""
        if kind == "more":
            return "add " + ", ".join(f"{count} {name}" for name, count in sorted((found.more or {}).items()))
        value = getattr(found, kind)
        if value <= getattr(self.asked, kind):
            return ""
        name = "the energy limit" if kind == "joules" else kind
        return f"raise {name} to {round_up(value)}{' J' if kind == 'joules' else ''}"


def attempt(
    problem: PlacementProblem, gap: float, time_limit_s: float = EACH_S, *, tight: bool = True
) -> Placement | None:
    """A placement within `gap` of the best, or None where none is found, without a word why."""
    if not all(task.options for task in problem.tasks):
        return None
    formulation = Formulation(pruned(problem), tight=tight)
    solution = formulation.model.minimise(formulation.cost(), time_limit_s, gap)
    if not solution.values:
        return None
    return placement(problem, formulation.decision(solution.values), Proof(solution.gap, 0.0))


def _first(enough: Callable[[int], bool], count: int) -> int | None:
    """The first of `count` places from which on it is enough; None where it never is."""
    if not count or not enough(count - 1):
        return None
    low, high = 0, count - 1
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle + 1, high)
    return low


def _largest_rate(request: PlanRequest) -> str:
    """The rate, in two or three digits; empty where not even a thousandth of it can be carried."""
    rate = request.rate_per_s

    def carried(rate_per_s: float) -> bool:
        try:
            planned = build(replace(request, rate_per_s=rate_per_s))
        except PlanError:
            return False
        elastic = _Elastic(request, planned)
        return elastic.attempt(elastic.asked, Objective.E2E_S, ANY_GAP) is not None

    low = next((share * rate for share in _shares() if carried(share * rate)), None)
    if low is None:
        return ""
    high = min(rate, low * 4)
    for _ in range(RATE_STEPS):
        middle = math.sqrt(low * high)
        low, high = (middle, high) if carried(middle) else (low, middle)
    return f"{_floor(low):g}"


def _shares() -> Iterator[float]:
    share = 0.5
    while share > 1e-3:
        yield share
        share /= 4


def _floor(value: float) -> float:
    """Three digits, never above."""
    digits = 10 ** (math.floor(math.log10(value)) - 2)
    return math.floor(value / digits + 1e-9) * digits
