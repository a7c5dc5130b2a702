"""`weft plan`: the cheapest fleet that meets an objective for an agent, with reasons."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from weft.cli.changes import show_changes
from weft.cli.console import wide_console
from weft.cli.groups import grouped
from weft.cli.loads import TrialOptions
from weft.cli.options import AskOptions, PlaceOptions
from weft.cli.questions import Questions, answers, show_answers
from weft.cli.together import is_agents_file, plan_together
from weft.cli.validating import ValidateOptions, refuse_missed, show_rounds
from weft.compiler.pipeline import compile_asked, plan_request_of
from weft.compiler.request import CompileRequest
from weft.control.validate import Validated
from weft.core.deployment import Deployment
from weft.core.deployment_json import encode
from weft.core.errors import InputError
from weft.plan.requests import PlanRequest
from weft.report.answers import Answers
from weft.report.tables import (
    alternatives_table,
    gap_line,
    handoff_lines,
    model_table,
    other_model_lines,
    path_table,
    plan_table,
    pool_table,
    share_lines,
)
from weft.serve.runnable import not_runnable


@dataclass(frozen=True, slots=True)
class QuestionOptions:
    """What else one wants to know, and where the answer goes."""

    explain: Annotated[
        bool, typer.Option("--explain", help="Also shadow prices, and whether the plan survives ±20 %.")
    ] = False
    why_not: Annotated[list[str] | None, typer.Option(help="Why this device does not run each step.")] = None
    pareto: Annotated[
        Path | None, typer.Option(help="Cost, latency and energy: a table, and a figure here ('-': no figure).")
    ] = None
    budget: Annotated[float | None, typer.Option(help="Also the most runs a second for these $/h.")] = None
    json: Annotated[
        Path | None, typer.Option(help="Write plan and answers here as one document ('-': standard output, no tables).")
    ] = None

    def questions(self) -> Questions:
        return Questions(self.explain, tuple(self.why_not or ()), self.pareto, self.budget)


def register(app: typer.Typer) -> None:
    app.command("plan")(grouped(plan))


def plan(
    asked: AskOptions, placed: PlaceOptions, more: QuestionOptions, proof: ValidateOptions, load: TrialOptions
) -> None:
    """Plan an agent: which device runs each step, how many, at what cost, and why."""
    request, questions = placed.applied(asked.request()), more.questions()
    if is_agents_file(request.agent):
        if questions.any or request.aim.previous or proof.validate:
            raise _one_agent_at_a_time()
        plan_together(request, more.json, wide_console())
        return
    validated = proof.validated(*load.trial(proof.validate, asked, request)) if proof.validate else None
    told = _told(request, questions, validated)
    if more.json == Path("-"):
        typer.echo(encode(told.deployment, told.answers), nl=False)
    else:
        _show(told, questions, wide_console())
    if more.json not in (None, Path("-")):
        more.json.parent.mkdir(parents=True, exist_ok=True)
        more.json.write_bytes(encode(told.deployment, told.answers))
    if validated is not None:
        refuse_missed(validated)


@dataclass(frozen=True, slots=True)
class _Told:
    """A plan with what it answers, and the answers to other questions about it."""

    request: CompileRequest
    asked: PlanRequest
    deployment: Deployment
    answers: Answers | None
    validated: Validated | None


def _told(request: CompileRequest, questions: Questions, validated: Validated | None) -> _Told:
    if validated is None:
        deployment, asked = compile_asked(request)
        return _Told(request, asked, deployment, answers(asked, questions, request.aim.time_limit_s), None)
    request = validated.request
    asked = plan_request_of(request)
    found = answers(asked, questions, request.aim.time_limit_s) or Answers()
    return _Told(request, asked, validated.deployment, replace(found, rounds=validated.rounds), validated)


def _show(told: _Told, questions: Questions, console: Console) -> None:
    show_plan(told.deployment, console)
    if told.request.aim.previous:
        show_changes(told.request.aim.previous, told.asked, told.deployment, console)
    show_answers(told.answers, questions.pareto, console)
    if told.validated is not None:
        show_rounds(told.validated, console)


def _one_agent_at_a_time() -> InputError:
    return InputError(
        subject="weft plan",
        problem="answers --explain, --why-not, --pareto, --budget, --validate and --from for one agent",
        way_out="ask them of one program, on the part of the fleet that is left to it (--set DEVICE.count=…)",
    )


def show_plan(deployment: Deployment, console: Console) -> None:
    console.print(plan_table(deployment))
    for line in gap_line(deployment):
        console.print(line, style="yellow")
    console.print(model_table(deployment))
    for line in handoff_lines(deployment):
        console.print(f"KV cache {line}", highlight=False)
    for line in share_lines(deployment):
        console.print(f"Traffic of {line}", highlight=False)
    for line in other_model_lines(deployment):
        console.print(f"Model of {line}", highlight=False)
    console.print()
    console.print(pool_table(deployment))
    console.print(path_table(deployment))
    console.print(alternatives_table(deployment))
    lacking = not_runnable(deployment)
    if lacking:
        names = ", ".join(dict.fromkeys(each.step for each in lacking))
        line = f"Plans, but weft run cannot run {names}: {lacking[0].step} {lacking[0].reason}"
        console.print(f"{line}; {lacking[0].way_out}", style="yellow", markup=False)
