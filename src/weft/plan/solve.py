"""The cheapest placement, and among the cheapest the fastest; or a refusal that says what clashes.

The same problem always gives the same answer, unless the time limit cuts the search short.
"""

import time
from dataclasses import replace

from weft.core.errors import PlanError
from weft.plan.diagnose import refusal
from weft.plan.evaluate import Proof, placement
from weft.plan.formulation import Formulation
from weft.plan.lp import Status
from weft.plan.problem import Placement, PlacementProblem
from weft.plan.prune import pruned

TIME_LIMIT_S = 20.0
RELATIVE_GAP = 1e-6
SAME_COST = 1e-6
"""Two placements cost the same within this many dollars an hour (or per million requests)."""


def solve(
    problem: PlacementProblem, time_limit_s: float = TIME_LIMIT_S, relative_gap: float = RELATIVE_GAP
) -> Placement:
    """The optimum within `relative_gap`. At the time limit, the best placement found, with its gap; with none found,
    or none possible, a PlanError."""
    started_s = time.perf_counter()
    formulation = Formulation(pruned(problem))
    solution = formulation.model.minimise(formulation.cost(), time_limit_s, relative_gap)
    if solution.status is Status.INFEASIBLE:
        raise refusal(problem, time_limit_s)
    if solution.status is Status.UNKNOWN:
        raise _too_slow(problem, time_limit_s)
    cheapest = placement(problem, formulation.choice(solution), Proof(solution.gap, 0.0))
    left_s = time_limit_s - (time.perf_counter() - started_s)
    best = _fastest_at_the_price(formulation, cheapest, left_s)
    return replace(best, solve_s=time.perf_counter() - started_s)


def _fastest_at_the_price(formulation: Formulation, cheapest: Placement, left_s: float) -> Placement:
    """Ties in cost are common, because replicas are whole: of those placements take the one that ends first."""
    if left_s <= 0:
        return cheapest
    formulation.model.row(formulation.cost(), upper=cheapest.objective * formulation.scale)
    solution = formulation.model.minimise(formulation.end_to_end(), left_s, RELATIVE_GAP)
    if not solution.values:
        return cheapest
    fastest = placement(formulation.problem, formulation.choice(solution), Proof(cheapest.gap, 0.0))
    dearer = (fastest.objective - cheapest.objective) * formulation.scale
    return fastest if dearer <= SAME_COST and fastest.e2e_s < cheapest.e2e_s else cheapest


def _too_slow(problem: PlacementProblem, time_limit_s: float) -> PlanError:
    options = sum(len(task.options) for task in problem.tasks)
    return PlanError(
        subject=f"placement of {len(problem.tasks)} steps over {options} options",
        problem=f"no solution within {time_limit_s:g} s",
        way_out="raise the time limit, or allow fewer devices, precisions or batch sizes",
    )
