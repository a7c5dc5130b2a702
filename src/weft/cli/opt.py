"""`weft opt`: run compiler passes on a file of MLIR and print the result."""

from pathlib import Path
from typing import Annotated

import typer

from weft.compiler.irdl import irdl_module
from weft.compiler.opt import parse_pipeline, run_passes
from weft.compiler.parse import print_module, read_module
from weft.compiler.passes import PASSES
from weft.core.errors import InputError

File = Annotated[Path | None, typer.Argument(help="An .mlir file with one func.func {agent.graph}.")]
Passes = Annotated[str, typer.Option("--passes", "-p", help=f"Comma-separated: {', '.join(PASSES)}.")]
Generic = Annotated[bool, typer.Option("--generic", help="Print what upstream MLIR tools read.")]
Irdl = Annotated[bool, typer.Option("--irdl", help="Print the dialects as IRDL, for upstream's --irdl-file; no FILE.")]
Output = Annotated[Path | None, typer.Option("--output", "-o", help="Write here, not to standard output.")]


def register(app: typer.Typer) -> None:
    app.command("opt")(opt)


def opt(
    file: File = None, passes: Passes = "", generic: Generic = False, irdl: Irdl = False, output: Output = None
) -> None:
    """Run passes on a file of IR; verify before and after each."""
    text = print_module(irdl_module()) if irdl else _optimised(file, passes, generic)
    if output is None:
        typer.echo(text, nl=False)
    else:
        output.parent.mkdir(parents=True, exist_ok=True)
        output.write_text(text)


def _optimised(file: Path | None, passes: str, generic: bool) -> str:
    if file is None:
        raise InputError(subject="weft opt", problem="has no file", way_out="give an .mlir file, or --irdl")
    module = read_module(file)
    run_passes(module, parse_pipeline(passes) if passes else ())
    return print_module(module, generic=generic)
