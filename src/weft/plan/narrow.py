"""Options that no placement as good as one in hand can use, by the prices of the relaxation. Exact: the optimum stays,
and so does all that costs the same.

The relaxation's optimum z has a reduced cost d ≥ 0 for each variable that is 0, and whatever is feasible costs no less
than z + Σ d · value. An option in use has x = 1 and n ≥ ⌈load⌉ replicas of its pool (split traffic: n ≥ 1), so what
uses it costs no less than z + d_x + ⌈load⌉ d_n. Where that is more than the placement in hand costs, the option goes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from weft.plan.formulation import Formulation
from weft.plan.formulation.rows import least_replicas
from weft.plan.formulation.sums import SCALE
from weft.plan.lp import Relaxed
from weft.plan.problem import Option, Placement, PlacementProblem, Task

NOISE = 1e-6
"""Of sums in the solver: absolute, and relative."""


@dataclass(frozen=True, slots=True)
class Floors:
    """`bound`: what any placement costs at least; `least`: task → the same of those with each of its options; `likely`:
    the option of each task that the relaxation uses most."""

    problem: PlacementProblem
    bound: float
    least: Mapping[str, Sequence[float]]
    likely: Mapping[str, Option]

    def within(self, best: Placement) -> PlacementProblem:
        """The problem without options of dearer placements."""
        limit = best.objective + NOISE * (1.0 / SCALE[self.problem.objective] + abs(best.objective))
        return replace(self.problem, tasks=tuple(self._kept(task, limit) for task in self.problem.tasks))

    def _kept(self, task: Task, limit: float) -> Task:
        pairs = zip(task.options, self.least[task.name], strict=True)
        return replace(task, options=tuple(option for option, least in pairs if least <= limit))


def floors(formulation: Formulation, time_limit_s: float) -> Floors | None:
    """None where the relaxation has no solution, or none in time."""
    relaxed = formulation.model.relaxed(formulation.cost(), time_limit_s)
    if relaxed is None:
        return None
    tasks, scale = formulation.problem.tasks, formulation.scale
    return Floors(
        formulation.problem,
        relaxed.objective / scale,
        {task.name: [each / scale for each in _least(task, formulation, relaxed)] for task in tasks},
        {task.name: _likely(task, formulation, relaxed) for task in tasks},
    )


def _least(task: Task, formulation: Formulation, relaxed: Relaxed) -> list[float]:
    problem, variables = formulation.problem, formulation.variables
    return [
        relaxed.objective
        + (0.0 if problem.split else max(0.0, relaxed.reduced[taken]))
        + max(0.0, relaxed.reduced[variables.n[option.pool]])
        * least_replicas(problem, max(problem.loads(task, option)))
        for option, taken in variables.options(task.name)
    ]


def _likely(task: Task, formulation: Formulation, relaxed: Relaxed) -> Option:
    return max(formulation.variables.options(task.name), key=lambda pair: relaxed.values[pair[1]])[0]
