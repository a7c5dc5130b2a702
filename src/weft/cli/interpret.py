"""`weft interpret`: run an agent with stub models: which way it goes, what it does outside, what passes keep of it."""

from typing import Annotated

import msgspec
import typer
from rich import box
from rich.table import Table

from weft.cli.console import wide_console
from weft.compiler.interpret import Interpretation, interpret
from weft.compiler.opt import parse_pipeline, run_passes
from weft.compiler.passes import PASSES
from weft.compiler.pipeline import import_module
from weft.core.errors import RunError

Agent = Annotated[str, typer.Argument(help="An agent program: file.py, file.py:name, or an .mlir module.")]
Seed = Annotated[int, typer.Option(help="Another seed, other replies and choices.")]
Passes = Annotated[str, typer.Option("--passes", "-p", help=f"Run these, and compare: {', '.join(PASSES)}.")]
Json = Annotated[bool, typer.Option("--json", help="Print result, effects and trace as JSON.")]


def register(app: typer.Typer) -> None:
    app.command("interpret")(interpret_agent)


def interpret_agent(agent: Agent, seed: Seed = 0, passes: Passes = "", json: Json = False) -> None:
    """Run an agent with stub models: no model, no tool, no network. With -p: does it still mean the same afterwards?"""
    module = import_module(agent)
    before = run = interpret(module, seed)
    if passes:
        run_passes(module, parse_pipeline(passes))
        run = interpret(module, seed)
    if json:
        typer.echo(msgspec.json.format(msgspec.json.encode(run)).decode())
    else:
        _show(run)
    if passes:
        _compare(before, run, passes, quiet=json)


def _show(run: Interpretation) -> None:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for heading in ("step", "what", "chose"):
        table.add_column(heading, overflow="fold")
    for visit in run.trace:
        table.add_row("/".join((*visit.path, visit.step)), visit.op, visit.detail)
    console = wide_console()
    console.print(table)
    console.print(f"returned {', '.join(run.result.returned) or 'nothing'}", markup=False)
    for number, effect in enumerate(run.effects, 1):
        console.print(f"effect {number}: {effect}", markup=False)
    for one, other in sorted(run.races):
        console.print(f"in no order, though one of them writes: {one}, {other}", markup=False)


def _compare(before: Interpretation, after: Interpretation, passes: str, *, quiet: bool) -> None:
    if not before.same_as(after):
        was, now = ((each.result.returned, each.effects, sorted(each.races)) for each in (before, after))
        raise RunError(
            subject=f"passes {passes!r}",
            problem=f"change what the agent means: {was} was returned, done and in no order, now {now}",
            way_out="run them one by one to find the one that does, and tell its author",
        )
    if not quiet:
        wide_console().print(f"means the same before and after {passes}", markup=False)
