"""`weft compare A.json B.json`: what changes between two plans."""

from pathlib import Path
from typing import Annotated

import typer

from weft import catalog
from weft.cli.console import wide_console
from weft.report.comparison import comparison_tables

First = Annotated[Path, typer.Argument(help="A plan, from `weft plan … --json A.json`.")]
Second = Annotated[Path, typer.Argument(help="Another plan.")]


def register(app: typer.Typer) -> None:
    app.command("compare")(compare)


def compare(first: First, second: Second) -> None:
    """What two plans differ in: cost, time, pools, and where each step runs."""
    console = wide_console()
    for table in comparison_tables(catalog.load_plan(first), catalog.load_plan(second)):
        console.print(table)
