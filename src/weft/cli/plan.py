"""`weft plan`: the cheapest fleet that meets an objective for an agent, with reasons."""

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from weft.cli.changes import show_changes
from weft.cli.console import wide_console
from weft.cli.options import (
    DEFAULTS,
    Additions,
    Agent,
    Catalogue,
    Finance,
    Fleet,
    Objective,
    Precisions,
    Rate,
    Serving,
    Settings,
    Slo,
    Split,
    Workload,
    compile_request,
)
from weft.cli.questions import Questions, answer
from weft.cli.together import is_agents_file, plan_together
from weft.compiler.pipeline import compile_agent
from weft.core.deployment import Deployment
from weft.core.deployment_json import encode
from weft.core.errors import InputError
from weft.report.tables import alternatives_table, handoff_lines, other_model_lines, plan_table, pool_table, share_lines

JsonPath = Annotated[Path | None, typer.Option("--json", help="Write the plan here ('-': standard output, no tables).")]
Explain = Annotated[bool, typer.Option("--explain", help="Also shadow prices, and whether the plan survives ±20 %.")]
WhyNot = Annotated[list[str] | None, typer.Option("--why-not", help="Why this device does not run each step.")]
Pareto = Annotated[Path | None, typer.Option("--pareto", help="Cost, latency and energy: a table, and a figure here.")]
Budget = Annotated[float | None, typer.Option("--budget", help="Also the most runs a second for these $/h.")]

From = Annotated[Path | None, typer.Option("--from", help="A plan to begin from (quick), and to tell the changes of.")]


def register(app: typer.Typer) -> None:
    app.command("plan")(plan)


def plan(
    agent: Agent,
    fleet: Fleet = DEFAULTS.fleet,
    slo: Slo = DEFAULTS.slo,
    workload: Workload = None,
    rate: Rate = DEFAULTS.rate_per_s,
    finance: Finance = DEFAULTS.finance,
    catalogue: Catalogue = DEFAULTS.catalogue,
    precision: Precisions = None,
    serving: Serving = DEFAULTS.serving,
    split: Split = False,
    objective: Objective = DEFAULTS.objective,
    set_: Settings = None,
    add: Additions = None,
    explain: Explain = False,
    why_not: WhyNot = None,
    pareto: Pareto = None,
    budget: Budget = None,
    json: JsonPath = None,
    from_: From = None,
) -> None:
    """Plan an agent: which device runs each step, how many, at what cost, and why."""
    request = compile_request(agent, fleet, slo, workload, rate, finance, catalogue, precision, serving, split)
    request = replace(request, objective=objective, settings=tuple(set_ or ()), additions=tuple(add or ()))
    request = replace(request, previous=str(from_ or ""))
    questions = Questions(explain, tuple(why_not or ()), pareto, budget)
    if is_agents_file(agent):
        if questions.any:
            raise _one_agent_at_a_time()
        plan_together(request, json, wide_console())
        return
    if json == Path("-") and questions.any:
        raise _no_room_for_tables()
    deployment = compile_agent(request)
    if json == Path("-"):
        typer.echo(encode(deployment), nl=False)
        return
    console = wide_console()
    show_plan(deployment, console)
    if from_ is not None:
        show_changes(request, deployment, console)
    if json is not None:
        json.parent.mkdir(parents=True, exist_ok=True)
        json.write_bytes(encode(deployment))
    answer(request, questions, console)


def _one_agent_at_a_time() -> InputError:
    return InputError(
        subject="weft plan",
        problem="answers --explain, --why-not, --pareto and --budget for one agent",
        way_out="ask them of one program, on the part of the fleet that is left to it (--set DEVICE.count=…)",
    )


def _no_room_for_tables() -> InputError:
    return InputError(
        subject="weft plan --json -",
        problem="prints the plan alone, --explain, --why-not, --pareto and --budget print tables",
        way_out="write the plan to a file: --json PATH",
    )


def show_plan(deployment: Deployment, console: Console) -> None:
    console.print(plan_table(deployment))
    for line in handoff_lines(deployment):
        console.print(f"KV cache {line}", highlight=False)
    for line in share_lines(deployment):
        console.print(f"Traffic of {line}", highlight=False)
    for line in other_model_lines(deployment):
        console.print(f"Model of {line}", highlight=False)
    console.print()
    console.print(pool_table(deployment))
    console.print(alternatives_table(deployment))
    provenance = ", ".join(sorted({route.provenance for route in deployment.routes}))
    console.print(f"Step times come from: {provenance}. Error bands: weft estimate.", style="dim")
