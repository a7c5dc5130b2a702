"""Problems too large for one MILP: bound and search (`plan.decompose`); with terms that those do not weigh, a MILP over
promising options (`plan.restricted`). Either way the gap that is told holds for the whole problem.
"""

import time
from collections.abc import Mapping
from dataclasses import replace

from weft.plan.decompose.search import gap_to, search
from weft.plan.decompose.tables import is_known
from weft.plan.evaluate import Proof, placement
from weft.plan.formulation import Formulation
from weft.plan.problem import Option, Placement, PlacementProblem
from weft.plan.restricted import solve_restricted

LARGE = 6_000
"""Options, after pruning, above which a problem is large."""

ENOUGH_GAP = 5e-3
"""What the search is worth: nearer than this the bound itself is seldom."""

CHECK_S = 10.0
"""For a problem without choices; it takes milliseconds."""


def is_large(problem: PlacementProblem) -> bool:
    return sum(len(task.options) for task in problem.tasks) > LARGE


def solve_large(
    problem: PlacementProblem, time_limit_s: float, relative_gap: float, previous: Mapping[str, str] | None = None
) -> Placement | None:
    """The best placement found in time, with its gap to the bound of the whole problem; None where none was found."""
    enough = max(relative_gap, ENOUGH_GAP)
    started_s = time.perf_counter()
    found = decomposed(problem, time_limit_s, enough, previous)
    left_s = time_limit_s - (time.perf_counter() - started_s)
    return found or solve_restricted(problem, left_s, enough)


def decomposed(
    problem: PlacementProblem, time_limit_s: float, enough: float, previous: Mapping[str, str] | None = None
) -> Placement | None:
    """None where the problem has terms that bound and search do not weigh, or where they find nothing."""
    started_s = time.perf_counter()
    if not is_known(problem):
        return None
    found = search(problem, previous, enough, lambda: time_limit_s - (time.perf_counter() - started_s))
    if found is None or found.choice is None:
        return None
    checked = held(problem, found.choice)
    gap = gap_to(found.bound, checked.objective) if checked else 0.0
    return checked and replace(checked, gap=gap, solve_s=time.perf_counter() - started_s)


def held(problem: PlacementProblem, choice: Mapping[str, Option]) -> Placement | None:
    """The placement of this choice, if it holds all limits: the formulation has the last word. Its gap is not told."""
    fixed = replace(problem, tasks=tuple(replace(task, options=(choice[task.name],)) for task in problem.tasks))
    formulation = Formulation(fixed)
    solution = formulation.model.minimise(formulation.cost(), CHECK_S, 0.0)
    if not solution.values:
        return None
    return placement(problem, formulation.decision(solution.values), Proof(0.0, 0.0))
