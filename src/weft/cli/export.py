"""`weft export`: an agent for other runtimes."""

from pathlib import Path
from typing import Annotated

import typer

from weft.cli.console import wide_console
from weft.compiler.frontends.agentspec.files import export_agentspec
from weft.compiler.pipeline import import_module

Agent = Annotated[str, typer.Argument(help="An agent program (file.py[:name]) or a module (.mlir).")]
Output = Annotated[Path, typer.Option("--output", "-o", help="The file to write: .yaml, or .json.")]


def register(app: typer.Typer) -> None:
    group = typer.Typer(help="Write an agent for other runtimes.", no_args_is_help=True)
    group.callback()(_export)
    group.command("agentspec")(agentspec)
    app.add_typer(group, name="export")


def _export() -> None:
    """With a callback typer keeps a single command a subcommand."""


def agentspec(agent: Agent, output: Output) -> None:
    """Write an agent as an Agent Spec Flow, and say what it has no words for."""
    text, told = export_agentspec(import_module(agent), output.suffix == ".json")
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(text, encoding="utf-8")
    console = wide_console()
    console.print(f"wrote {output}", highlight=False)
    for each in told:
        console.print(f"note     {each}", style="dim", markup=False, highlight=False)
