"""`weft opt`: run compiler passes on a file of MLIR and print the result."""

from pathlib import Path
from typing import Annotated

import typer

from weft.compiler.opt import parse_pipeline, run_passes
from weft.compiler.parse import print_module, read_module
from weft.compiler.passes import PASSES

File = Annotated[Path, typer.Argument(help="An .mlir file with one func.func {agent.graph}.")]
Passes = Annotated[str, typer.Option("--passes", "-p", help=f"Comma-separated: {', '.join(PASSES)}.")]
Generic = Annotated[bool, typer.Option("--generic", help="Print what upstream MLIR tools read.")]
Output = Annotated[Path | None, typer.Option("--output", "-o", help="Write here, not to standard output.")]


def register(app: typer.Typer) -> None:
    app.command("opt")(opt)


def opt(file: File, passes: Passes = "", generic: Generic = False, output: Output = None) -> None:
    """Run passes on a file of IR; verify before and after each."""
    module = read_module(file)
    run_passes(module, parse_pipeline(passes) if passes else ())
    text = print_module(module, generic=generic)
    if output is None:
        typer.echo(text, nl=False)
    else:
        output.write_text(text)
