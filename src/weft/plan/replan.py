"""Plan again after a change, from the plan that is there: within a second, with a gap that is told.

Bound and search first (`plan.decompose`), from the previous choice; what time is left goes to the MILP, from what the
search found. Where neither finds anything in that time, the problem is solved as if it were new, or refused.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace

from weft.core.errors import PlanError
from weft.plan.decompose.search import gap_to
from weft.plan.large import decomposed, held, is_large
from weft.plan.problem import Option, Placement, PlacementProblem
from weft.plan.solve import RELATIVE_GAP, solve

REPLAN_S = 0.9
"""The search and the check at its end take a little longer than they are given."""

REPLAN_GAP = 1e-2

SEARCH_PART = 0.3
"""Of the time, where the MILP has a chance."""


def replan(
    problem: PlacementProblem,
    previous: Mapping[str, str],
    time_limit_s: float = REPLAN_S,
    relative_gap: float = REPLAN_GAP,
    exact_s: float = 0.0,
) -> Placement:
    """`previous`: task → option name of the plan that is there; `relative_gap`: what ends the search where the problem
    is large. Others are solved to the optimum, if `exact_s` or else what is left of the limit is enough: the bound of
    the search, with fractions of replicas, says little of few tasks with many options."""
    started_s = time.perf_counter()
    large = is_large(problem)
    if exact_s and not large and (proven := _exact(problem, exact_s, previous)):
        return proven
    search_s = time_limit_s if large else time_limit_s * SEARCH_PART
    quick = decomposed(problem, search_s, relative_gap if large else RELATIVE_GAP, previous)
    if large and quick:
        return quick
    left_s = time_limit_s - (time.perf_counter() - started_s)
    if quick is None:
        return solve(problem, previous=previous)
    exact = _exact(problem, left_s, quick.choice) if left_s > 0 else None
    best = quick if exact is None else _better(quick, exact)
    return replace(best, solve_s=time.perf_counter() - started_s)


def _exact(problem: PlacementProblem, left_s: float, begun: Mapping[str, str]) -> Placement | None:
    try:
        return solve(problem, left_s, previous=begun)
    except PlanError:
        return None  # out of time without a placement: the search may have one


def _better(quick: Placement, exact: Placement) -> Placement:
    """The cheaper one, at the better of the two bounds; of equals the exact one, which broke ties."""
    bound = max(each.objective * (1 - each.gap) for each in (quick, exact))
    best = quick if quick.objective < exact.objective * (1 - RELATIVE_GAP) else exact
    return replace(best, gap=min(best.gap, gap_to(bound, best.objective)))


@dataclass(frozen=True, slots=True)
class Kept:
    """What became of the previous choice. `gone`: tasks whose option is no more; `placement`: all as it was, in the new
    problem; None where that is not possible."""

    gone: tuple[str, ...]
    placement: Placement | None


def kept(problem: PlacementProblem, previous: Mapping[str, str]) -> Kept:
    options: dict[str, Option] = {
        task.name: option for task in problem.tasks for option in task.options if option.name == previous.get(task.name)
    }
    gone = tuple(task.name for task in problem.tasks if task.name not in options)
    return Kept(gone, None if gone else held(problem, options))
