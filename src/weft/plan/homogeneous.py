"""What the mix is worth: the best plan of each fleet that uses a single accelerator family."""

from dataclasses import dataclass, replace

from weft.core.errors import PlanError
from weft.plan.problem import Placement, PlacementProblem, Task
from weft.plan.solve import TIME_LIMIT_S, solve


@dataclass(frozen=True, slots=True)
class Homogeneous:
    """One family's best placement, or why it has none."""

    family: str
    placement: Placement | None
    reason: str = ""


def homogeneous(problem: PlacementProblem, time_limit_s: float = TIME_LIMIT_S) -> tuple[Homogeneous, ...]:
    """One entry for each family in the problem, by name. Pools without a family (CPU work) are open to all."""
    families = {option.pool.family for task in problem.tasks for option in task.options}
    return tuple(_best_of(problem, family, time_limit_s) for family in sorted(families - {None}, key=str) if family)


def restricted(problem: PlacementProblem, family: str) -> PlacementProblem:
    """The problem without the options of other families. A task may be left without options."""
    return replace(problem, tasks=tuple(_restricted(task, family) for task in problem.tasks))


def _restricted(task: Task, family: str) -> Task:
    return replace(task, options=tuple(option for option in task.options if option.pool.family in (None, family)))


def _best_of(problem: PlacementProblem, family: str, time_limit_s: float) -> Homogeneous:
    narrowed = restricted(problem, family)
    barred = [task.name for task in narrowed.tasks if not task.options]
    if barred:
        return Homogeneous(family, None, f"{family} has no option that meets the objective for {', '.join(barred)}")
    try:
        return Homogeneous(family, solve(narrowed, time_limit_s))
    except PlanError as error:
        return Homogeneous(family, None, str(error))
