"""`weft estimate`: latency and throughput of a model on a device, with error bands, for one point or a CSV of them."""

import json as jsonlib
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.table import Table

from weft.cli.console import wide_console
from weft.core.errors import InputError, WeftError
from weft.core.units import pretty_seconds
from weft.cost.points import Point
from weft.estimate.coefficients import Coefficients, coefficients
from weft.estimate.points_csv import price_file
from weft.estimate.price import Estimate, Priced, price

Model = Annotated[str | None, typer.Option(help="A model of the catalogue, as you write it.")]
Device = Annotated[str | None, typer.Option(help="A device of the catalogue, as you write it.")]
Precision = Annotated[str, typer.Option(help="fp16, bf16, fp8, int8, fp4, int4 (weights only).")]
Engine = Annotated[str, typer.Option(help='The serving software ("vllm 0.19"); blank: the average one.')]
Tp = Annotated[int | None, typer.Option(help="Tensor parallelism of one replica [default: smallest that fits].")]
Pp = Annotated[int, typer.Option(help="Pipeline stages of one replica.")]
Ep = Annotated[int, typer.Option(help="Ways in which routed experts are spread.")]
Gpus = Annotated[int | None, typer.Option(help="Devices of the whole deployment [default: one replica].")]
Isl = Annotated[float, typer.Option(help="Mean tokens of a prompt.")]
Osl = Annotated[float, typer.Option(help="Mean tokens of an answer.")]
Concurrency = Annotated[float | None, typer.Option(help="Requests in flight [default for offline: as many as fit].")]
Kind = Annotated[str, typer.Option(help="server, offline, prefill, decode or e2e (one static batch).")]
Points = Annotated[Path | None, typer.Option(help="A CSV of points; needs --out.")]
Out = Annotated[Path | None, typer.Option(help="Where the priced points go.")]
Folder = Annotated[Path | None, typer.Option("--coefficients", help="Folder of your own `weft calibrate`.")]
Json = Annotated[bool, typer.Option("--json", help="SI units.")]


def register(app: typer.Typer) -> None:
    app.command("estimate")(estimate)


def estimate(
    model: Model = None,
    device: Device = None,
    precision: Precision = "",
    engine: Engine = "",
    tp: Tp = None,
    pp: Pp = 1,
    ep: Ep = 1,
    gpus: Gpus = None,
    isl: Isl = 1024,
    osl: Osl = 1024,
    concurrency: Concurrency = None,
    kind: Kind = "server",
    points: Points = None,
    out: Out = None,
    folder: Folder = None,
    json: Json = False,
) -> None:
    """Price one point, or --points in.csv --out out.csv."""
    using = coefficients(folder) if folder else coefficients()
    if points is not None:
        _file(points, out, using)
        return
    if model is None or device is None:
        raise InputError(subject="weft estimate", problem="has no model or no device", way_out="give both, or --points")
    load = concurrency if concurrency or kind == "offline" else 1.0
    point = Point("", model, precision, device, engine, gpus, tp, pp, ep, isl, osl, load, kind)
    answer = price([point], using)[0]
    if isinstance(answer, WeftError):
        raise answer
    if json:
        typer.echo(jsonlib.dumps(msgspec.to_builtins(answer), indent=2))
    else:
        _show(answer)


def _file(points: Path, out: Path | None, using: Coefficients) -> None:
    if out is None:
        raise InputError(subject="--points", problem="has no --out", way_out="say where the priced points go")
    rows, priced = price_file(points, out, using)
    typer.echo(f"{priced} of {rows} points priced: {out}")


def _show(answer: Priced) -> None:
    table = Table(box=None, pad_edge=False)
    for heading in ("", "value", "80 % band"):
        table.add_column(heading, justify="left" if not heading else "right")
    for name, found in (("TTFT", answer.ttft_s), ("TPOT", answer.tpot_s)):
        if found:
            table.add_row(name, pretty_seconds(found.value), _band(found, pretty_seconds))
    if answer.tokens_per_s:
        table.add_row("tokens/s", f"{answer.tokens_per_s.value:,.0f}", _band(answer.tokens_per_s, "{:,.0f}".format))
    console = wide_console()
    console.print(table)
    devices = "1 device" if answer.devices == 1 else f"{answer.devices} devices"
    console.print(
        f"{devices}; {answer.running:.0f} sequences at once on a replica, {answer.fits:.0f} fit; {answer.provenance}",
        style="dim",
    )


def _band(found: Estimate, pretty: Callable[[float], str]) -> str:
    return f"{pretty(found.low)} to {pretty(found.high)}"
