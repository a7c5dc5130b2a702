"""The best placement, and among the best the fastest; or a refusal that says what clashes.

The same problem always gives the same answer, unless the time limit cuts the search short.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace

from weft.core.errors import PlanError
from weft.plan.decompose.search import gap_to
from weft.plan.diagnose import refusal
from weft.plan.evaluate import Proof, placement
from weft.plan.formulation import Formulation, Terms
from weft.plan.large import held, is_large, solve_large
from weft.plan.lp import Status
from weft.plan.narrow import Floors, floors
from weft.plan.problem import Objective, Placement, PlacementProblem
from weft.plan.prune import pruned

TIME_LIMIT_S = 20.0
RELATIVE_GAP = 1e-6
SAME_COST = 1e-6
"""Two placements cost the same within this many dollars an hour (or per million requests)."""


def solve(
    problem: PlacementProblem,
    time_limit_s: float = TIME_LIMIT_S,
    relative_gap: float = RELATIVE_GAP,
    previous: Mapping[str, str] | None = None,
) -> Placement:
    """The optimum within `relative_gap`; of a large problem (`plan.large`) a good placement with its gap. `previous`:
    the choice of an earlier plan (task → option name), where the search begins.

    Ties are broken for proven optima only. At the time limit, the best placement found, with its gap; with none found,
    or none possible, a PlanError.
    """
    started_s = time.perf_counter()

    def left_s() -> float:
        return max(0.0, time_limit_s - (time.perf_counter() - started_s))

    smaller = pruned(problem)
    if is_large(smaller) and (found := solve_large(smaller, time_limit_s, relative_gap, previous)):
        return found
    floor = floors(Formulation(smaller), time_limit_s)
    known = floor and _known(floor, previous)
    part = Formulation(floor.within(known) if floor and known else smaller)
    solution = part.model.minimise(
        part.cost(), left_s(), relative_gap, _start(part, known.choice if known else previous)
    )
    if solution.values:
        best = placement(problem, part.decision(solution.values), Proof(solution.gap, 0.0))
    elif known:
        best = known
    elif solution.status is Status.INFEASIBLE:
        raise refusal(problem, time_limit_s)
    else:
        raise _too_slow(problem, time_limit_s)
    if relative_gap <= RELATIVE_GAP:
        best = _refined(Formulation(floor.within(best)) if floor else part, best, left_s)
    return replace(best, solve_s=time.perf_counter() - started_s)


def _known(floor: Floors, previous: Mapping[str, str] | None) -> Placement | None:
    """A placement to begin with: what the relaxation likes best, or the previous choice, if it holds."""
    tasks = floor.problem.tasks
    before = {task.name: o for task in tasks for o in task.options if previous and o.name == previous.get(task.name)}
    choices = [floor.likely, *([before] if len(before) == len(tasks) else [])]
    found = [held_ for choice in choices if (held_ := held(floor.problem, choice))]
    best = min(found, key=lambda each: each.objective, default=None)
    return best and replace(best, gap=gap_to(floor.bound, best.objective))


def _start(formulation: Formulation, previous: Mapping[str, str] | None) -> Mapping[int, float] | None:
    """Values of all choices; None where a task's previous option is no more."""
    if previous is None:
        return None
    chosen = {v: float(o.name == previous.get(t.name)) for t, o, v in formulation.variables.assignments()}
    return chosen if sum(chosen.values()) == len(formulation.problem.tasks) else None


Goal = tuple[Terms, Callable[[Placement], float]]
"""What is minimised next, as terms of the model and as a number of a placement."""


def _tie_breakers(formulation: Formulation) -> Iterator[Goal]:
    if formulation.problem.objective in (Objective.JOULES_PER_REQUEST, Objective.USD_TO_BUY, Objective.E2E_S):
        yield formulation.hourly_usd(), lambda found: found.usd_per_hour
    yield formulation.end_to_end(), lambda found: found.e2e_s


def _refined(formulation: Formulation, best: Placement, left_s: Callable[[], float]) -> Placement:
    """Ties are common, because replicas are whole: of the best placements take the cheapest, of those the fastest."""
    held, most = formulation.cost(), best.objective * formulation.scale
    for terms, number in _tie_breakers(formulation):
        formulation.model.row(held, upper=most + (SAME_COST if formulation.problem.split else 0.0))
        best = _better(formulation, best, (terms, number), left_s())
        held, most = terms, number(best)
    return best


def _better(formulation: Formulation, best: Placement, goal: Goal, left_s: float) -> Placement:
    """The best of the goal among placements as good as `best`."""
    if left_s <= 0:
        return best
    terms, number = goal
    try:
        solution = formulation.model.minimise(terms, left_s, RELATIVE_GAP)
    except PlanError:
        return best  # HiGHS gave up on the tight row; the answer is proven without this refinement
    if not solution.values:
        return best
    found = placement(formulation.problem, formulation.decision(solution.values), Proof(best.gap, 0.0))
    dearer = (found.objective - best.objective) * formulation.scale
    return found if dearer <= 2 * SAME_COST and number(found) < number(best) else best


def _too_slow(problem: PlacementProblem, time_limit_s: float) -> PlanError:
    options = sum(len(task.options) for task in problem.tasks)
    return PlanError(
        subject=f"placement of {len(problem.tasks)} steps over {options} options",
        problem=f"no solution within {time_limit_s:g} s",
        way_out="raise the time limit, or allow fewer devices, precisions or batch sizes",
    )
