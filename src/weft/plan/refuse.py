"""What to tell when a task has no option at all: the nearest miss, and the way out of it."""

from weft.core.errors import NoPlacementError
from weft.plan.options import Reason, Rejection
from weft.plan.requests import LeafTask, TaskKind

WAY_OUT = {
    Reason.MEMORY: "choose a lower precision or a smaller model, or add devices with more memory",
    Reason.PRICE: "add the price to the fleet file or choose another finance",
    Reason.FORMAT: "allow another precision or add a device that runs this one",
    Reason.KIND: "add a CPU to the fleet",
    Reason.PIN: "pin it to a device and a zone that the fleet has, or do not pin it",
}


def no_option(task: LeafTask, rejections: tuple[Rejection, ...]) -> NoPlacementError:
    """The error for a task none of whose configurations is an option."""
    if not rejections:
        problem, way_out = "no device of the fleet can run it", "add devices to the fleet"
        return NoPlacementError(subject=task.name, problem=problem, way_out=way_out)
    nearest = min(rejections, key=_distance)
    return NoPlacementError(subject=task.name, problem=nearest.message, way_out=_way_out(task, nearest))


def _distance(rejection: Rejection) -> tuple[int, float]:
    """Nearest reason first; among those too slow the fastest, among those too small the largest."""
    order = tuple(Reason).index(rejection.reason)
    return order, rejection.value if rejection.reason is Reason.TIME else -rejection.limit


def _way_out(task: LeafTask, rejection: Rejection) -> str:
    if task.pinned and rejection.reason is not Reason.PIN:
        return f"pin it elsewhere, or {WAY_OUT.get(rejection.reason, 'loosen its objective')}"
    if rejection.reason is not Reason.TIME:
        return WAY_OUT[rejection.reason]
    return f"raise {'ttft_s' if task.kind is TaskKind.PREFILL else 'tpot_s'} or add a faster device"
