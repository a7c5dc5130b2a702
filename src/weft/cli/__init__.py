"""The `weft` command: one file a group of commands. Errors are one sentence and a way out, never a traceback.

Only the module of the command that was called is imported: `weft plan` must not wait for figures and node processes.
"""

import importlib
import keyword
import sys

import typer
from rich.console import Console

from weft.core.errors import WeftError

COMMANDS = (
    "import",
    "export",
    "plan",
    "compile",
    "size",
    "buy",
    "compare",
    "run",
    "serve",
    "node",
    "memory",
    "demo",
    "simulate",
    "control",
    "deploy",
    "top",
    "opt",
    "interpret",
    "catalog",
    "estimate",
    "calibrate",
    "study",
)
"""Each is a module of this package with `register(app)`; `import` lives in `import_`."""


def app_for(arguments: list[str]) -> typer.Typer:
    """The command line as far as `arguments` need it: the command that they name, or all for a help page."""
    app = typer.Typer(
        help="Plans, compiles and runs AI agents on mixed hardware.",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        add_completion=False,
    )
    app.callback()(_weft)
    called = arguments[0] if arguments else None
    for name in (called,) if called in COMMANDS else COMMANDS:
        module = f"{name}_" if keyword.iskeyword(name) else name
        importlib.import_module(f"weft.cli.{module}").register(app)
    return app


def _weft() -> None:
    """With a callback typer keeps a single command a subcommand."""


def main() -> None:
    try:
        app_for(sys.argv[1:])()
    except WeftError as error:
        console = Console(stderr=True, highlight=False, soft_wrap=True)
        console.print("[bold red]error:[/]", end=" ")
        console.print(f"{error.subject}: {error.problem}", markup=False)
        console.print(f"  → {error.way_out}", markup=False)
        sys.exit(error.exit_code)
