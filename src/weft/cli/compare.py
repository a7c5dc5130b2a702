"""`weft compare A.json B.json`: what changes between two plans."""

from pathlib import Path
from typing import Annotated

import typer

from weft.cli.console import wide_console
from weft.core.deployment import Deployment
from weft.core.deployment_json import decode
from weft.core.errors import InputError
from weft.report.comparison import comparison_tables

First = Annotated[Path, typer.Argument(help="A plan, from `weft plan … --json A.json`.")]
Second = Annotated[Path, typer.Argument(help="Another plan.")]


def register(app: typer.Typer) -> None:
    app.command("compare")(compare)


def compare(first: First, second: Second) -> None:
    """What two plans differ in: cost, time, pools, and where each step runs."""
    console = wide_console()
    for table in comparison_tables(_plan(first), _plan(second)):
        console.print(table)


def _plan(path: Path) -> Deployment:
    try:
        return decode(path.read_bytes(), str(path))
    except OSError as error:
        way_out = "write one with `weft plan … --json PATH`"
        raise InputError(subject=str(path), problem="cannot be read", way_out=way_out) from error
