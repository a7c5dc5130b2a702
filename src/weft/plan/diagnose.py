"""Why a problem has no placement: which constraints clash, and the smallest relaxation of each.

The problem is solved again with one kind of constraint relaxed and the violation as the cost: lateness with the
inventory kept, then the inventory with the limit kept, then both; all that without a limit on energy or purchases where
these are what stands in the way. `elastic` does more, where the whole request is known.
"""

import math
from dataclasses import dataclass, replace
from itertools import product

from weft.core.errors import NoPlacementError
from weft.core.units import GIGA, pretty_seconds
from weft.plan.evaluate import Proof, placement
from weft.plan.formulation import Formulation
from weft.plan.problem import Handoff, Objective, Placement, PlacementProblem
from weft.plan.promises import Promise

HAND_OFFS = "hand-offs"
ENOUGH_GAP = 1e-4
LATENESS_WEIGHT = 1e-3
"""Devices per second late, where both are relaxed: devices decide, lateness breaks ties."""

CONGESTION_WEIGHT = 1e3
"""Devices per capacity of a link: what is too much for the links comes first."""


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
    if both is not None:
        return _late_and_few(problem, both)
    full = _relaxed(problem, time_limit_s, lateness=True, excess=True, congestion=True)
    return _forbidden(problem) if full is None else _too_full(problem, full)


def _relaxed(
    problem: PlacementProblem, time_limit_s: float, *, lateness: bool, excess: bool, congestion: bool = False
) -> _Relaxed | None:
    formulation = Formulation(problem, tight=not excess)  # counts of devices may be large
    cost: list[tuple[int, float]] = []
    if lateness:
        formulation.allow_lateness()
        hard = [each.name for each in problem.all_promises if each.hard]
        cost.extend((formulation.variables.slack[name], LATENESS_WEIGHT if excess else 1.0) for name in hard)
    if excess:
        formulation.allow_excess()
        cost.extend((variable, 1.0) for variable in formulation.variables.excess.values())
    if congestion:
        formulation.allow_congestion()
        cost.extend((variable, CONGESTION_WEIGHT) for variable in formulation.variables.congestion.values())
    solution = formulation.model.minimise(cost, time_limit_s, ENOUGH_GAP)
    if not solution.values:
        return None
    missing = {name: round(solution.values[variable]) for name, variable in formulation.variables.excess.items()}
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
    missed = _missed(problem, late)
    raised = [f"raise {each.name} to {round_up(late.placement.promised_s[each.name])}" for each in missed]
    return NoPlacementError(
        subject=_subject(missed[0]),
        problem=f"{_asked(missed)} asked, best is {_reached(missed, late)} with this fleet",
        way_out=f"{' and '.join(raised)}{more}",
    )


def _missed(problem: PlacementProblem, late: _Relaxed) -> list[Promise]:
    """The hard promises that even the least late placement breaks; the first one where rounding hides them all."""
    hard = [each for each in problem.all_promises if each.hard]
    return [each for each in hard if late.placement.promised_s[each.name] > each.limit_s] or hard[:1]


def _subject(promise: Promise) -> str:
    """`voice: p95 of the end-to-end time` for `voice e2e_p95_s`."""
    *agent, key = promise.name.split(" ")
    words = "end-to-end time" if promise.share == 1.0 else f"p{promise.share * 100:g} of the end-to-end time"
    return f"{agent[0]}: {words}" if agent and key else words


def _too_few(problem: PlacementProblem, short: _Relaxed) -> NoPlacementError:
    return NoPlacementError(
        subject="inventory",
        problem=f"{problem.rate_per_s:g} requests/s at {_utilisation(problem)} need at least "
        f"{_devices(short)} more than there are",
        way_out=f"add {_devices(short)}, lower the rate, or loosen the SLO",
    )


def _utilisation(problem: PlacementProblem) -> str:
    own = any(task.max_utilisation is not None for task in problem.tasks)
    return "the utilisations asked for" if own else f"utilisation {problem.max_utilisation:g}"


def _late_and_few(problem: PlacementProblem, both: _Relaxed) -> NoPlacementError:
    missed = _missed(problem, both)
    return NoPlacementError(
        subject=f"inventory and {_subject(missed[0])}",
        problem=f"{problem.rate_per_s:g} requests/s need at least {_devices(both)} more than there are, and even then "
        f"the best is {_reached(missed, both)} of {_asked(missed)} asked",
        way_out="add devices or lower the rate, and raise " + " and ".join(each.name for each in missed),
    )


def _too_full(problem: PlacementProblem, full: _Relaxed) -> NoPlacementError:
    """Names the fullest link."""
    loads = {
        link: full.placement.link_use[link] / problem.link_utilisation / (capacity or math.ulp(0.0))
        for link, capacity in problem.link_bytes_per_s.items()
    }
    link = max(loads, key=loads.__getitem__)
    needs_gbit = full.placement.link_use[link] / problem.link_utilisation * 8 / GIGA
    has_gbit = problem.link_bytes_per_s[link] * 8 / GIGA
    return NoPlacementError(
        subject=f"link {link}",
        problem=f"{problem.rate_per_s:g} requests/s at utilisation {problem.link_utilisation:g} need at least "
        f"{needs_gbit:.3g} Gbit/s, it has {has_gbit:.3g}",
        way_out="choose a faster link in the fleet file, add devices to one of the zones, or lower the rate",
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


def _asked(missed: list[Promise]) -> str:
    return " and ".join(pretty_seconds(each.limit_s) for each in missed)


def _reached(missed: list[Promise], relaxed: _Relaxed) -> str:
    return " and ".join(pretty_seconds(relaxed.placement.promised_s[each.name]) for each in missed)


def round_up(value: float) -> str:
    """Three digits, never below: the value can be typed back in."""
    if float(f"{value:.3g}") >= value:
        return f"{value:.3g}"
    unit = 10.0 ** (math.floor(math.log10(value)) - 2)
    return f"{(math.floor(value / unit) + 1) * unit:.3g}"
