"""Limits that a plan keeps beyond its objective, as words that can be typed: what validation found out by simulating.

utilisation=0.6                  pools are kept no busier
think.prefill.utilisation=0.5    pools of that step (a call's name stands for both of its phases)
think.prefill.ttft_s=0.12        TTFT (or tpot_s) that the planner may count on there
link_utilisation=0.3             shared lines and adapters
e2e_s=0.8                        expected time of a run
"""

from collections.abc import Sequence
from dataclasses import replace

from weft.core.errors import InputError
from weft.plan.requests import LeafTask, PlanRequest

UTILISATION, LINK, E2E = "utilisation", "link_utilisation", "e2e_s"
STEP_TIMES = ("ttft_s", "tpot_s")


def tightened(request: PlanRequest, changes: Sequence[str]) -> PlanRequest:
    """Each change in turn; a later one wins."""
    for change in changes:
        request = _applied(request, change)
    return request


def _applied(request: PlanRequest, change: str) -> PlanRequest:
    name, value = _read(change)
    step, _, key = name.rpartition(".")
    if step:
        return _of_step(request, change, step, key, value)
    match key:
        case "utilisation":
            return replace(request, max_utilisation=value)
        case "link_utilisation":
            return replace(request, max_link_utilisation=value)
        case "e2e_s":
            return replace(request, slo=replace(request.slo, e2e_s=value))
        case _:
            raise _unknown(request, change)


def _of_step(request: PlanRequest, change: str, step: str, key: str, value: float) -> PlanRequest:
    meant = {task.name for task in request.tasks if task.name == step or task.name.rpartition(".")[0] == step}
    if not meant or key not in (UTILISATION, *STEP_TIMES):
        raise _unknown(request, change)

    def changed(task: LeafTask) -> LeafTask:
        if key == UTILISATION:
            return replace(task, max_utilisation=value)
        return replace(task, slo=replace(request.slo_of(task), **{key: value}))

    tasks = (changed(task) if task.name in meant else task for task in request.tasks)
    return replace(request, tasks=tuple(tasks))


def _read(change: str) -> tuple[str, float]:
    name, _, text = change.partition("=")
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    most = 1.0 if name.endswith(UTILISATION) else float("inf")
    if not 0 < value <= most or value == float("inf"):
        limit = "above 0, at most 1" if most == 1.0 else "seconds above 0"
        raise InputError(subject=f"tighten {change!r}", problem=f"is no number {limit}", way_out="write KEY=NUMBER")
    return name, value


def _unknown(request: PlanRequest, change: str) -> InputError:
    steps = ", ".join(task.name for task in request.tasks)
    way_out = (
        f"write {UTILISATION}, {LINK}, {E2E}, or STEP.{UTILISATION}, STEP.ttft_s, STEP.tpot_s with a step of {steps}"
    )
    return InputError(subject=f"tighten {change!r}", problem="names nothing that can be tightened", way_out=way_out)
