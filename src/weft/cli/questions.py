"""Questions about a plan that take planning again: prices of scarce things, reasons, fronts, budgets."""

from dataclasses import dataclass, replace
from pathlib import Path

from rich.console import Console

from weft.compiler.pipeline import plan_request_of
from weft.compiler.request import CompileRequest
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
from weft.report.answers import goodput_line, pareto_table, robust_lines, scenario_table, shadow_table, why_not_table


@dataclass(frozen=True, slots=True)
class Questions:
    explain: bool
    why_not: tuple[str, ...]
    pareto: Path | None
    usd_per_hour: float | None

    @property
    def any(self) -> bool:
        return self.explain or bool(self.why_not) or self.pareto is not None or self.usd_per_hour is not None


def answer(request: CompileRequest, questions: Questions, console: Console) -> None:
    """Prints an answer for each question asked."""
    if not questions.any:
        return
    asked = plan_request_of(request)
    planned, found = decide(asked, request.time_limit_s)
    if questions.explain:
        _explain(asked, planned, found, console)
    for device in questions.why_not:
        _refuse_unknown(device, asked)
        console.print(why_not_table(device, tuple(why_not(planned, found, device))))
    if questions.pareto is not None:
        _pareto(asked, questions.pareto, console)
    if questions.usd_per_hour is not None:
        console.print(goodput_line(questions.usd_per_hour, *most_runs(asked, questions.usd_per_hour)))


def _explain(request: PlanRequest, planned: Planned, found: Placement, console: Console) -> None:
    console.print(shadow_table(shadow_prices(request, found, devices_in_use(planned, found))))
    report = sensitivity(request, planned, found)
    console.print(scenario_table(report, found))
    for line in robust_lines(report, found):
        console.print(line)


def devices_in_use(planned: Planned, found: Placement) -> dict[str, int]:
    """Device class → devices."""
    pools = {option.pool for task in planned.problem.tasks for option in task.options}
    used: dict[str, int] = {}
    for pool in pools:
        count = found.replicas.get(pool.name, 0) * pool.devices_per_replica
        used[pool.device_class] = used.get(pool.device_class, 0) + count
    return used


def _pareto(request: PlanRequest, path: Path, console: Console) -> None:
    from weft.report.pareto_figure import pareto_figure  # matplotlib takes a second to load

    planned = build(replace(request, weigh_energy=True))
    front = pareto_front(planned.problem)
    console.print(pareto_table(front, planned))
    path.parent.mkdir(parents=True, exist_ok=True)
    pareto_figure(front, path)
    console.print(f"Figure: {path}")


def _refuse_unknown(device: str, request: PlanRequest) -> None:
    names = list(dict.fromkeys(group.device.id for group in request.fleet.groups))
    if device not in names:
        way_out = f"ask about {', '.join(names)}, or give it devices with --add {device}:8"
        raise InputError(subject=f"device {device!r}", problem="is not in the fleet", way_out=way_out)
