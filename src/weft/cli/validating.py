"""`weft plan --validate`: the loop of `control.validate` with a bar, a table of its rounds, and a verdict."""

from dataclasses import dataclass
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from weft.cli.loads import KINDS
from weft.compiler.request import CompileRequest
from weft.control.demand import Demand
from weft.control.trial import Trial
from weft.control.validate import ROUNDS, Validated, Watch, validate
from weft.core.errors import AttainmentError
from weft.report.validation import round_lines, rounds_table, verdict


@dataclass(frozen=True, slots=True)
class ValidateOptions:
    """Whether the plan is simulated, and how often it may be made again."""

    validate: Annotated[
        str | None,
        typer.Option(
            metavar="TRACE",
            help=f"Simulate the plan on a trace, or on arrivals ({KINDS}) at --rate, and tighten it until it holds.",
        ),
    ] = None
    rounds: Annotated[int, typer.Option(min=1, help="Plans to try.")] = ROUNDS

    def validated(self, request: CompileRequest, trial: Trial, demand: Demand) -> Validated:
        """A bar on standard error, so that JSON on standard output stays clean."""
        columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[at]}"), TimeElapsedColumn())
        with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
            task = bar.add_task("plan 1", total=trial.runs, at="")

            def began(number: int) -> None:
                bar.reset(task, description=f"plan {number}, simulating", total=trial.runs)

            def progress(ended: int, now_s: float) -> None:
                bar.update(task, completed=ended, at=f"{ended:,} runs, {now_s:,.0f} s of virtual time")

            return validate(request, trial, demand, self.rounds, Watch(began, progress))


def show_rounds(validated: Validated, console: Console) -> None:
    console.print(rounds_table(validated))
    for line in round_lines(validated):
        console.print(line, highlight=False, markup=False)
    console.print(verdict(validated), style="green" if validated.holds else "yellow", highlight=False)


def refuse_missed(validated: Validated) -> None:
    if validated.holds:
        return
    raise AttainmentError(
        subject=f"{validated.deployment.agent}: attainment",
        problem=verdict(validated),
        way_out="; ".join(validated.obstacles) or "loosen the objective, or accept fewer runs in time (--attainment)",
    )
