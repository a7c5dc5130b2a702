"""`weft top`: a running server in the terminal: fleet, agents, objective, price, queues, caches, what control did."""

import time
import urllib.request
from dataclasses import dataclass
from typing import Annotated
from urllib.error import URLError

import msgspec
import typer
from rich.live import Live

from weft.cli.console import wide_console
from weft.cli.groups import grouped
from weft.cli.top_view import view
from weft.core.errors import InputError
from weft.serve.status import Status

TIMEOUT_S = 5.0


@dataclass(frozen=True, slots=True)
class TopOptions:
    url: Annotated[str, typer.Argument(help="The address that `weft serve` prints.")] = "http://127.0.0.1:8080"
    every: Annotated[float, typer.Option(min=0.1, help="Seconds between two looks.")] = 1.0
    once: Annotated[bool, typer.Option("--once", help="One look, and end.")] = False
    json: Annotated[bool, typer.Option("--json", help="One look, as JSON on standard output.")] = False


def register(app: typer.Typer) -> None:
    app.command("top")(grouped(top))


def top(options: TopOptions) -> None:
    """Watch a server: its nodes, runs, objective, $/h, queues and decisions. Ctrl-C ends."""
    if options.json:
        typer.echo(msgspec.json.format(msgspec.json.encode(_look(options.url)), indent=2))
        return
    console = wide_console()
    if options.once:
        console.print(view(_look(options.url), options.url))
        return
    with Live(console=console, screen=True, auto_refresh=False) as live:
        try:
            while True:
                live.update(view(_look(options.url), options.url, console.height), refresh=True)
                time.sleep(options.every)
        except KeyboardInterrupt:
            return


def _look(url: str) -> Status:
    try:
        with urllib.request.urlopen(f"{url.rstrip('/')}/status", timeout=TIMEOUT_S) as answer:
            return msgspec.json.decode(answer.read(), type=Status)
    except (URLError, OSError, ValueError) as error:
        problem, way_out = f"does not answer at /status ({error})", "give the address that `weft serve` prints"
        raise InputError(subject=url, problem=problem, way_out=way_out) from error
