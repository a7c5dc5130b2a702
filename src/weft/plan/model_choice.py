"""Where a call may run several models: what the plan would cost with each of the others."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from weft.core.errors import PlanError
from weft.core.model import ModelSpec
from weft.plan.build import Planned
from weft.plan.options import Reason, Rejection
from weft.plan.problem import Placement, PlacementProblem
from weft.plan.requests import LeafTask, PlanRequest
from weft.plan.solve import solve


@dataclass(frozen=True, slots=True)
class OtherModel:
    """A model that a call could run and does not: the best plan with it, or why there is none."""

    steps: tuple[str, ...]
    model: str
    placement: Placement | None
    reason: str = ""


def other_models(request: PlanRequest, planned: Planned, found: Placement) -> Iterator[OtherModel]:
    """One for each model that each call leaves."""
    for flow in request.flows:
        task = request.task(flow.source)
        if flow.carries_kv and task.or_models:
            taken = planned.candidates[task.name][found.choice[task.name]].model
            for model in (each for each in task.all_models if each != taken):
                yield _with(planned, (task, request.task(flow.target)), model)


def _with(planned: Planned, tasks: tuple[LeafTask, LeafTask], model: ModelSpec) -> OtherModel:
    names = tuple(task.name for task in tasks)
    if model not in tasks[0].models:
        return OtherModel(names, model.id, None, f"its context of {model.context} tokens is too short")
    narrowed = _only(planned, names, model)
    for name in names:
        if not narrowed.task(name).options:
            return OtherModel(names, model.id, None, _nearest(planned.rejections[name], model))
    try:
        return OtherModel(names, model.id, solve(narrowed))
    except PlanError as error:
        return OtherModel(names, model.id, None, f"{error.subject}: {error.problem}")


def _only(planned: Planned, names: tuple[str, ...], model: ModelSpec) -> PlacementProblem:
    def kept(name: str) -> dict[str, bool]:
        return {option: each.model == model for option, each in planned.candidates[name].items()}

    tasks = [
        replace(task, options=tuple(o for o in task.options if kept(task.name)[o.name])) if task.name in names else task
        for task in planned.problem.tasks
    ]
    return replace(planned.problem, tasks=tuple(tasks))


def _nearest(rejections: tuple[Rejection, ...], model: ModelSpec) -> str:
    mine = [each for each in rejections if each.model == model.id]
    order = tuple(Reason)
    nearest = min(mine, key=lambda each: (order.index(each.reason), each.value - each.limit), default=None)
    return "no device of the fleet can run it" if nearest is None else nearest.message
