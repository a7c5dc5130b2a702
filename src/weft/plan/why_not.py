"""Why a device does not run a step: what refused it, or what it would cost to force the step onto it."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from weft.core.errors import PlanError
from weft.plan.build import Planned
from weft.plan.options import Reason, Rejection
from weft.plan.problem import Placement, Task
from weft.plan.solve import solve


@dataclass(frozen=True, slots=True)
class WhyNot:
    """`extra_usd_per_hour`: what the plan costs more with the step on the device; None where it cannot be there."""

    step: str
    answer: str
    extra_usd_per_hour: float | None = None


def why_not(planned: Planned, placement: Placement, device: str) -> Iterator[WhyNot]:
    """One answer for each step of the agent."""
    for task in planned.problem.tasks:
        if planned.candidates[task.name][placement.choice[task.name]].group.device.id == device:
            yield WhyNot(task.name, "it does run here", 0.0)
            continue
        here = tuple(o for o in task.options if planned.candidates[task.name][o.name].group.device.id == device)
        yield _forced(planned, placement, task, here) if here else WhyNot(task.name, _refused(planned, task, device))


def _refused(planned: Planned, task: Task, device: str) -> str:
    """The nearest miss: what came closest to being an option."""
    found = [each for each in planned.rejections[task.name] if each.where.split("@")[0] == device]
    return min(found, key=_distance).message if found else "the fleet has no such device for this kind of step"


def _distance(rejection: Rejection) -> tuple[int, float]:
    return tuple(Reason).index(rejection.reason), rejection.value - rejection.limit


def _forced(planned: Planned, placement: Placement, task: Task, options: tuple[object, ...]) -> WhyNot:
    only = replace(task, options=options)
    tasks = tuple(only if each.name == task.name else each for each in planned.problem.tasks)
    try:
        forced = solve(replace(planned.problem, tasks=tasks))
    except PlanError as error:
        return WhyNot(task.name, f"possible for the step alone, but then {error.subject}: {error.problem}")
    extra = forced.usd_per_hour - placement.usd_per_hour
    if abs(extra) < 1e-6:
        slower_s = forced.e2e_s - placement.e2e_s
        return WhyNot(task.name, f"it costs the same and takes {slower_s * 1e3:+.1f} ms a run", 0.0)
    return WhyNot(task.name, f"the best plan with it there costs {extra / placement.usd_per_hour:+.1%}", extra)
