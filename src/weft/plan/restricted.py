"""Large problems as a MILP: bound by the relaxation, then solve over the options that it finds promising.

The relaxation without (2) prices every option; those that it uses, and per task a few with the least reduced cost, make
a problem that HiGHS solves in seconds. Its answer is feasible for the whole problem, and the relaxation bounds the
optimum, so the gap that is told holds for the whole problem. Where the few are too few, more are tried.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace

from weft.plan.evaluate import Proof, placement
from weft.plan.formulation import NOTHING, Formulation
from weft.plan.lp import Relaxed
from weft.plan.problem import Placement, PlacementProblem, Task

FEW = 4
"""Options of a task in the first restricted problem, besides those in use."""


@dataclass(frozen=True, slots=True)
class Bounded:
    """`bound`: below the optimum, in the scaled unit of the objective."""

    bound: float
    formulation: Formulation
    relaxed: Relaxed


def bounded(problem: PlacementProblem) -> Bounded | None:
    """None where even the relaxation has no solution."""
    formulation = Formulation(problem, tight=False)
    relaxed = formulation.model.relaxed(formulation.cost())
    return None if relaxed is None else Bounded(relaxed.objective, formulation, relaxed)


def restrictions(problem: PlacementProblem, found: Bounded) -> Iterator[PlacementProblem]:
    """Ever larger parts of the problem, the whole one last."""
    few, most = FEW, max(len(task.options) for task in problem.tasks)
    while few < most:
        yield replace(problem, tasks=tuple(_promising(task, found, few) for task in problem.tasks))
        few *= 4
    yield problem


def solve_restricted(problem: PlacementProblem, time_limit_s: float, relative_gap: float) -> Placement | None:
    """The best placement found in time, with its gap to the bound of the whole problem; None where none was found."""
    started_s = time.perf_counter()
    bound = bounded(problem)
    if bound is None:
        return None
    for part in restrictions(problem, bound):
        left_s = time_limit_s - (time.perf_counter() - started_s)
        formulation = Formulation(part, tight=False)
        solution = formulation.model.minimise(formulation.cost(), max(left_s, 0.0), relative_gap)
        if solution.values:
            decision = formulation.decision(solution.values)
            found = placement(problem, decision, Proof(0.0, time.perf_counter() - started_s))
            return replace(found, gap=_gap(found.objective * formulation.scale, bound.bound))
        if left_s <= 0:
            break
    return None


def _gap(cost: float, bound: float) -> float:
    return max(0.0, (cost - bound) / cost) if cost else 0.0


def _promising(task: Task, found: Bounded, few: int) -> Task:
    variables = found.formulation.variables.x[task.name]
    by_price = sorted(range(len(variables)), key=lambda at: found.relaxed.reduced[variables[at]])
    used = [at for at in by_price if found.relaxed.values[variables[at]] > NOTHING]
    kept = sorted({*used, *by_price[:few]})
    return replace(task, options=tuple(task.options[at] for at in kept))
