"""`weft size`: the cheapest fleet on which enough runs of a trace end within the objective."""

import csv
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from weft.cli.console import wide_console
from weft.cli.groups import grouped
from weft.cli.loads import KINDS, TrialOptions
from weft.cli.options import DEFAULTS, AskOptions, Pins, Serving
from weft.cli.together import is_agents_file
from weft.compiler.request import CompileRequest
from weft.control.demand import Demand
from weft.control.journal import Journal
from weft.control.size import Sized, Sizing, Watch
from weft.control.trial import Trial
from weft.core.deployment_json import encode
from weft.core.errors import InputError
from weft.report.sizing import fewer_table, fleet_table, sizing_lines


@dataclass(frozen=True, slots=True)
class SizeOptions:
    """What it is sized for, and where the answer goes."""

    trace: Annotated[
        str, typer.Option(metavar="TRACE", help=f"A trace (docs/traces.md), or arrivals ({KINDS}) at --rate.")
    ]
    serving: Serving = DEFAULTS.rules.serving
    pin: Pins = None
    most: Annotated[int, typer.Option(min=1, help="Fleets to simulate for the proof of each design.")] = 200
    journal: Annotated[
        Path | None, typer.Option(help="What was simulated is kept here; asked again, the search goes on from there.")
    ] = None
    json: Annotated[bool, typer.Option("--json", help="The answer as JSON on standard output, no tables.")] = False
    out: Annotated[Path | None, typer.Option(help="Folder for plan.json, fleets.csv and a figure.")] = None


def register(app: typer.Typer) -> None:
    app.command("size")(grouped(size))


def size(asked: AskOptions, wanted: SizeOptions, load: TrialOptions) -> None:
    """The cheapest fleet for a trace: what runs where, how many of each, and what one less would miss."""
    if is_agents_file(asked.agent):
        way_out = "size one of its programs, on the part of the fleet that is left to it (--set DEVICE.count=…)"
        raise InputError(subject=asked.agent, problem="lists several agents, one is sized", way_out=way_out)
    request = asked.request()
    request = replace(request, rules=replace(request.rules, serving=wanted.serving, pins=tuple(wanted.pin or ())))
    found = _watched(*load.trial(wanted.trace, asked, request), wanted)
    if wanted.out is not None:
        _write(found, wanted.out)
    if wanted.json:
        typer.echo(msgspec.json.format(msgspec.json.encode(found, order="deterministic"), indent=2))
        return
    console = wide_console()
    console.print(fleet_table(found))
    console.print(fewer_table(found))
    for line in sizing_lines(found):
        console.print(line, highlight=False)
    if wanted.out is not None:
        console.print(f"\n{wanted.out}/: {', '.join(sorted(path.name for path in wanted.out.iterdir()))}")


def _watched(request: CompileRequest, trial: Trial, demand: Demand, wanted: SizeOptions) -> Sized:
    """A bar on standard error, so that JSON on standard output stays clean."""
    columns = (TextColumn("{task.description}"), BarColumn(bar_width=20), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("proposals", total=trial.runs)
        watch = Watch(
            lambda said: bar.reset(task, description=said, total=trial.runs),
            lambda ended, _: bar.update(task, completed=ended),
        )
        return Sizing(request, trial, demand, Journal(wanted.journal), watch, wanted.most).run()


def _write(found: Sized, out: Path) -> None:
    from weft.report.sizing_figure import sizing_figure  # matplotlib takes a second to load

    out.mkdir(parents=True, exist_ok=True)
    (out / "plan.json").write_bytes(encode(found.deployment))
    with (out / "fleets.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("design", "fleet", "usd_per_hour", "in_time", "at_most", "holds"))
        for point in found.points:
            fleet = ", ".join(f"{count} {name}" for name, count in point.replicas.items())
            row = (f"{point.usd_per_hour:.4f}", f"{point.attainment:.4f}", int(point.cut), int(point.holds))
            writer.writerow((found.designs[point.design], fleet, *row))
    sizing_figure(found, out / "size.png")
