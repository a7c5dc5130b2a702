"""The `weft` command: one file a group of commands. Errors are one sentence and a way out, never a traceback."""

import sys

import typer
from rich.console import Console

from weft.cli import calibrate, catalog, demo, estimate, opt, plan, run
from weft.core.errors import WeftError

app = typer.Typer(
    help="Plans, compiles and runs AI agents on mixed hardware.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
app.add_typer(catalog.app, name="catalog")
app.command("plan")(plan.plan)
app.command("run")(run.run)
app.command("demo")(demo.demo)
app.command("opt")(opt.opt)
app.command("estimate")(estimate.estimate)
app.command("calibrate")(calibrate.calibrate)


def main() -> None:
    try:
        app()
    except WeftError as error:
        console = Console(stderr=True, highlight=False, soft_wrap=True)
        console.print("[bold red]error:[/]", end=" ")
        console.print(f"{error.subject}: {error.problem}", markup=False)
        console.print(f"  → {error.way_out}", markup=False)
        sys.exit(error.exit_code)
