"""The most runs a second that a fleet carries within a budget: cost grows with the rate, so the rate is bisected.

Options are enumerated anew at each rate, because what waits, and so what keeps its objective, depends on it.
"""

from dataclasses import replace

from weft.core.errors import PlanError
from weft.plan.build import build
from weft.plan.problem import Placement
from weft.plan.requests import PlanRequest
from weft.plan.solve import solve

PRECISION = 1e-3
"""Relative: the rate found is at most this far below the largest."""

FIRST_PER_S = 1e-3


def most_runs(
    request: PlanRequest, usd_per_hour: float, precision: float = PRECISION, first_per_s: float = FIRST_PER_S
) -> tuple[float, Placement]:
    """The largest rate within the budget, and its plan; PlanError where not even `first_per_s` fits."""
    best = _within(request, first_per_s, usd_per_hour)
    if best is None:
        raise PlanError(
            subject="budget",
            problem=f"{usd_per_hour:g} $/h carry no run at all ({first_per_s:g}/s tried)",
            way_out="raise the budget: the least fleet that meets the objective costs more",
        )
    low, high = first_per_s, 2 * first_per_s
    while (found := _within(request, high, usd_per_hour)) is not None:
        low, high, best = high, 2 * high, found
    while high - low > precision * low:
        middle = (low + high) / 2
        found = _within(request, middle, usd_per_hour)
        low, high, best = (low, middle, best) if found is None else (middle, high, found)
    return low, best


def _within(request: PlanRequest, rate_per_s: float, usd_per_hour: float) -> Placement | None:
    try:
        found = solve(build(replace(request, rate_per_s=rate_per_s)).problem)
    except PlanError:
        return None
    return found if found.usd_per_hour <= usd_per_hour * (1 + 1e-9) else None
