"""Why a problem has no placement: which constraints clash, and the smallest relaxation of each.

The problem is solved again with one kind of constraint relaxed and the violation as the cost: lateness with the
inventory kept, then the inventory with the limit kept, then both; all that without a limit on energy or purchases where
these are what stands in the way. `elastic` does more, where the whole request is known.
"""

import math
from dataclasses import dataclass, replace
from itertools import product

from weft.core.errors import NoPlacementError
from weft.core.units import pretty_seconds
from weft.plan.evaluate import Proof, placement
from weft.plan.formulation import Formulation
from weft.plan.problem import Handoff, Objective, Placement, PlacementProblem

HAND_OFFS = "hand-offs"
ENOUGH_GAP = 1e-4
LATENESS_WEIGHT = 1e-3
"""Devices per second late, where both are relaxed: devices decide, lateness breaks ties."""


@dataclass(frozen=True, slots=True)
class _Relaxed:
    placement: Placement
    missing: dict[str, int]
    """Device class → devices beyond the inventory."""


def refusal(problem: PlacementProblem, time_limit_s: float) -> NoPlacementError:
    """The error to raise for a problem that has no placement."""
    spare = replace(problem, energy_limit_j=None, budget_usd=None)
    for warm in (replace(problem, energy_limit_j=None), spare) if problem.energy_limit_j is not None else ():
        if coolest := _least(warm, Objective.JOULES_PER_REQUEST, time_limit_s):
            return _too_hot(problem, coolest)
    if problem.budget_usd is not None and (bill := _least(spare, Objective.USD_TO_BUY, time_limit_s)):
        return _too_dear(problem, bill)
    return _clash(spare, time_limit_s)


def _clash(problem: PlacementProblem, time_limit_s: float) -> NoPlacementError:
    late = _relaxed(problem, time_limit_s, lateness=True, excess=False)
    short = _relaxed(problem, time_limit_s, lateness=False, excess=True)
    if late is not None:
        return _too_late(problem, late, short)
    if short is not None:
        return _too_few(problem, short)
    both = _relaxed(problem, time_limit_s, lateness=True, excess=True)
    return _forbidden(problem) if both is None else _late_and_few(problem, both)


def _relaxed(problem: PlacementProblem, time_limit_s: float, *, lateness: bool, excess: bool) -> _Relaxed | None:
    formulation = Formulation(problem, tight=not excess)  # counts of devices may be large
    cost: list[tuple[int, float]] = []
    if lateness:
        formulation.allow_lateness()
        cost.append((formulation.slack, LATENESS_WEIGHT if excess else 1.0))
    if excess:
        formulation.allow_excess()
        cost.extend((variable, 1.0) for variable in formulation.excess.values())
    solution = formulation.model.minimise(cost, time_limit_s, ENOUGH_GAP)
    if not solution.values:
        return None
    missing = {name: round(solution.values[variable]) for name, variable in formulation.excess.items()}
    answer = placement(problem, formulation.decision(solution.values), Proof(0.0, 0.0))
    return _Relaxed(answer, {name: count for name, count in missing.items() if count})


def _least(problem: PlacementProblem, objective: Objective, time_limit_s: float) -> Placement | None:
    """The placement with least of something, all other limits kept; None where they clash already."""
    formulation = Formulation(replace(problem, objective=objective))
    solution = formulation.model.minimise(formulation.cost(), time_limit_s, ENOUGH_GAP)
    return placement(problem, formulation.decision(solution.values), Proof(0.0, 0.0)) if solution.values else None


def _too_hot(problem: PlacementProblem, coolest: Placement) -> NoPlacementError:
    """Energy is what stands in the way, alone or with a limit on purchases."""
    paid = "" if problem.budget_usd is None else f" for ${coolest.usd_to_buy:,.0f} of purchases"
    return NoPlacementError(
        subject="energy",
        problem=f"{problem.energy_limit_j:g} J a run asked, the least is {coolest.joules_per_request:.4g} J{paid}",
        way_out=f"raise the limit to {round_up(coolest.joules_per_request)} J, or add devices that need less",
    )


def _too_dear(problem: PlacementProblem, bill: Placement) -> NoPlacementError:
    asked = f"{problem.budget_usd:,.0f} $ do not buy a fleet for {problem.rate_per_s:g} runs/s"
    return NoPlacementError(
        subject="budget",
        problem=f"{asked}; the cheapest costs {bill.usd_to_buy:,.0f} $",
        way_out=f"raise --budget to {math.ceil(bill.usd_to_buy)}, lower the rate, or loosen the SLO",
    )


def _too_late(problem: PlacementProblem, late: _Relaxed, short: _Relaxed | None) -> NoPlacementError:
    more = f", or add {_devices(short)}" if short else ", or add faster devices"
    return NoPlacementError(
        subject="end-to-end time",
        problem=f"{_asked(problem)} asked, best is {_reached(late)} with this fleet",
        way_out=f"raise e2e_s to {round_up(late.placement.e2e_s)}{more}",
    )


def _too_few(problem: PlacementProblem, short: _Relaxed) -> NoPlacementError:
    return NoPlacementError(
        subject="inventory",
        problem=f"{problem.rate_per_s:g} requests/s at utilisation {problem.max_utilisation:g} need at least "
        f"{_devices(short)} more than there are",
        way_out=f"add {_devices(short)}, lower the rate, or loosen the SLO",
    )


def _late_and_few(problem: PlacementProblem, both: _Relaxed) -> NoPlacementError:
    return NoPlacementError(
        subject="inventory and end-to-end time",
        problem=f"{problem.rate_per_s:g} requests/s need at least {_devices(both)} more than there are, and even then "
        f"the best is {_reached(both)} of {_asked(problem)} asked",
        way_out="add devices or lower the rate, and raise e2e_s",
    )


def _forbidden(problem: PlacementProblem) -> NoPlacementError:
    apart = [handoff for handoff in problem.handoffs if not _can_be_joined(problem, handoff)] or problem.handoffs
    steps = ", ".join(f"{handoff.source} → {handoff.target}" for handoff in apart)
    return NoPlacementError(
        subject=HAND_OFFS,
        problem=f"no choice of options can be joined along {steps}",
        way_out="add links between the zones, or a precision that both sides run",
    )


def _can_be_joined(problem: PlacementProblem, handoff: Handoff) -> bool:
    ends = (problem.task(end).options for end in (handoff.source, handoff.target))
    return any(math.isfinite(handoff.latency_of(a, b)) for a, b in product(*ends))


def _devices(relaxed: _Relaxed) -> str:
    return ", ".join(f"{count} {name}" for name, count in sorted(relaxed.missing.items()))


def _asked(problem: PlacementProblem) -> str:
    return pretty_seconds(problem.e2e_limit_s or 0.0)


def _reached(relaxed: _Relaxed) -> str:
    return pretty_seconds(relaxed.placement.e2e_s)


def round_up(value: float) -> str:
    """Three digits, never below: the value can be typed back in."""
    if float(f"{value:.3g}") >= value:
        return f"{value:.3g}"
    unit = 10.0 ** (math.floor(math.log10(value)) - 2)
    return f"{(math.floor(value / unit) + 1) * unit:.3g}"
