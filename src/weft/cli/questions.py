"""Questions about a plan that take planning again: prices of scarce things, reasons, fronts, budgets."""

from dataclasses import dataclass, replace
from pathlib import Path

from rich.console import Console

from weft.core.errors import InputError
from weft.plan.build import Planned, build
from weft.plan.elastic import decide
from weft.plan.goodput import most_runs
from weft.plan.pareto import pareto_front
from weft.plan.problem import Placement
from weft.plan.requests import PlanRequest
from weft.plan.sensitivity import sensitivity
from weft.plan.shadow import shadow_prices
from weft.plan.why_not import why_not
from weft.report.answers import (
    Answers,
    FrontPoint,
    Goodput,
    Robust,
    goodput_line,
    pareto_table,
    robust_lines,
    scenario_table,
    shadow_table,
    used_pools,
    why_not_table,
)


@dataclass(frozen=True, slots=True)
class Questions:
    explain: bool
    why_not: tuple[str, ...]
    pareto: Path | None
    usd_per_hour: float | None

    @property
    def any(self) -> bool:
        return self.explain or bool(self.why_not) or self.pareto is not None or self.usd_per_hour is not None


def answers(asked: PlanRequest, questions: Questions, time_limit_s: float) -> Answers | None:
    """Of the planner's request; None where nothing is asked."""
    if not questions.any:
        return None
    for device in questions.why_not:
        _refuse_unknown(device, asked)
    planned, found = decide(asked, time_limit_s)
    told = Answers(why_not={each: tuple(why_not(planned, found, each)) for each in questions.why_not} or None)
    if questions.explain:
        told = _explained(told, asked, planned, found)
    if questions.pareto is not None:
        told = replace(told, pareto=_front(asked))
    if questions.usd_per_hour is not None:
        rate_per_s, placed = most_runs(asked, questions.usd_per_hour)
        told = replace(told, goodput=Goodput(questions.usd_per_hour, rate_per_s, placed.usd_per_hour))
    return told


def _explained(told: Answers, request: PlanRequest, planned: Planned, found: Placement) -> Answers:
    report = sensitivity(request, planned, found)
    robust = None
    if report.robust is not None and report.worst is not None:
        same = report.robust.choice == found.choice
        extra = report.robust.objective / found.objective - 1 if found.objective else 0.0
        robust = Robust(same, extra, report.worst, used_pools(report.robust, planned))
    prices = shadow_prices(request, found, devices_in_use(planned, found))
    return replace(told, shadow_prices=prices, scenarios=report.scenarios, robust=robust)


def devices_in_use(planned: Planned, found: Placement) -> dict[str, int]:
    """Device class → devices."""
    pools = {option.pool for task in planned.problem.tasks for option in task.options}
    used: dict[str, int] = {}
    for pool in pools:
        count = found.replicas.get(pool.name, 0) * pool.devices_per_replica
        used[pool.device_class] = used.get(pool.device_class, 0) + count
    return used


def _front(request: PlanRequest) -> tuple[FrontPoint, ...]:
    planned = build(replace(request, weigh_energy=True))
    return tuple(
        FrontPoint(each.usd_per_hour, each.e2e_s, each.joules_per_request, used_pools(each, planned))
        for each in pareto_front(planned.problem)
    )


def show_answers(found: Answers | None, figure: Path | None, console: Console) -> None:
    """A table or a sentence for each question asked; the Pareto front also as a figure."""
    if found is None:
        return
    if found.shadow_prices is not None and found.scenarios is not None:
        console.print(shadow_table(found.shadow_prices))
        console.print(scenario_table(found.scenarios))
        for line in robust_lines(found.scenarios, found.robust):
            console.print(line)
    for device, told in (found.why_not or {}).items():
        console.print(why_not_table(device, told))
    if found.pareto is not None:
        console.print(pareto_table(found.pareto))
        if figure not in (None, Path("-")):
            _draw(found.pareto, figure, console)
    if found.goodput is not None:
        console.print(goodput_line(found.goodput))


def _draw(front: tuple[FrontPoint, ...], path: Path, console: Console) -> None:
    from weft.report.pareto_figure import pareto_figure  # matplotlib takes a second to load

    path.parent.mkdir(parents=True, exist_ok=True)
    pareto_figure(front, path)
    console.print(f"Figure: {path}")


def _refuse_unknown(device: str, request: PlanRequest) -> None:
    names = list(dict.fromkeys(group.device.id for group in request.fleet.groups))
    if device not in names:
        way_out = f"ask about {', '.join(names)}, or give it devices with --add {device}:8"
        raise InputError(subject=f"device {device!r}", problem="is not in the fleet", way_out=way_out)
