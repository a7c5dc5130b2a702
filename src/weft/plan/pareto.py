"""The Pareto front of cost, latency and energy, by the ε-constraint method.

Cost is minimised under a grid of limits on end-to-end time and energy between their best values and those of the
cheapest plan; what another point beats or equals in all three goes. Each point is optimal under its limits; the grid
decides how many of the front's points are found.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from weft.core.errors import PlanError
from weft.plan.problem import Objective, Placement, PlacementProblem
from weft.plan.solve import solve

STEPS = 5
NEAR = 1e-9


def pareto_front(problem: PlacementProblem, steps: int = STEPS) -> tuple[Placement, ...]:
    """From the cheapest to the dearest, in $/request if that is the objective, else in $/h.

    A soft limit on time is left out: time is an axis here.
    """
    if not problem.hard_limit:
        problem = replace(problem, e2e_limit_s=None, penalty_usd_per_s=None)
    hard = tuple(each for each in problem.promises if each.hard)
    problem = replace(problem, promises=hard)
    if problem.objective is not Objective.USD_PER_REQUEST:
        problem = replace(problem, objective=Objective.USD_PER_HOUR)
    cheapest = solve(problem)
    coolest = solve(replace(problem, objective=Objective.JOULES_PER_REQUEST))
    fastest = solve(replace(problem, objective=Objective.E2E_S))
    limits_s = _between(fastest.e2e_s, max(cheapest.e2e_s, coolest.e2e_s), steps)
    limits_j = _between(coolest.joules_per_request, max(cheapest.joules_per_request, fastest.joules_per_request), steps)
    found = [cheapest, coolest, fastest, *_grid(problem, limits_s, limits_j)]
    same = [replace(each, objective=_cost(problem, each)) for each in found]
    return tuple(sorted(undominated(same), key=_numbers))


def _cost(problem: PlacementProblem, found: Placement) -> float:
    hourly = problem.objective is not Objective.USD_PER_REQUEST
    return found.usd_per_hour if hourly else found.usd_per_request


def undominated(found: Sequence[Placement]) -> list[Placement]:
    """Without points that another beats or equals; of equal ones the first stays."""
    numbers = np.array([_numbers(each) for each in found])
    slack = NEAR + 1e-6 * np.abs(numbers)
    no_worse = np.all(numbers[:, None, :] <= (numbers + slack)[None, :, :], axis=2)
    better = np.any(numbers[:, None, :] < (numbers - slack)[None, :, :], axis=2)
    order = np.arange(len(found))
    beats = no_worse & (better | (order[:, None] < order[None, :]))
    return [each for at, each in enumerate(found) if not beats[:, at].any()]


def _grid(problem: PlacementProblem, limits_s: Sequence[float], limits_j: Sequence[float]) -> Iterator[Placement]:
    for limit_s in limits_s:
        for limit_j in limits_j:
            limited = replace(problem, e2e_limit_s=limit_s, energy_limit_j=limit_j)
            try:
                yield solve(limited)
            except PlanError:
                continue  # no plan is that fast and that cool at once: the front has a gap here


def _between(least: float, most: float, steps: int) -> list[float]:
    """Limits from the least value up; the least with room for rounding."""
    return [float(value) * (1 + 1e-6) for value in np.linspace(least, most, steps)]


def _numbers(found: Placement) -> tuple[float, float, float]:
    return found.objective, found.e2e_s, found.joules_per_request
