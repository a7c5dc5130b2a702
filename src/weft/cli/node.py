"""`weft node`: one node process that stands by itself, for another machine or a supervisor."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from weft.core.errors import InputError
from weft.runtime.daemon import Address, Daemon, read_key, read_spec

Spec = Annotated[Path, typer.Argument(help="What the node is and serves: JSON or TOML, see docs/runtime.md.")]
Key = Annotated[Path, typer.Option(help="A file with the key of the fleet in hex; only its owner may read it.")]
Listen = Annotated[str, typer.Option(help="HOST:PORT for steps; port 0: any free one.")]
Http = Annotated[str | None, typer.Option(help="HOST:PORT for /healthz, /readyz and /metrics.")]
Otlp = Annotated[str | None, typer.Option(help="Send spans here: http://collector:4318/v1/traces.")]
Grace = Annotated[float, typer.Option(help="Seconds that steps may take after SIGTERM.")]


def register(app: typer.Typer) -> None:
    app.command("node")(node)


def node(
    spec: Spec,
    key_file: Key,
    listen: Listen = "127.0.0.1:0",
    http: Http = None,
    otlp: Otlp = None,
    grace: Grace = 30.0,
) -> None:
    """Serve steps until SIGTERM, then drain: running steps end, new ones are refused. A second signal ends at once."""
    console = Console(soft_wrap=True, highlight=False)

    def started(address: str, port: int | None) -> None:
        health = f", health and metrics on port {port}" if port is not None else ""
        console.print(f"node {daemon.spec.name} serves steps on {address}{health}", markup=False)

    where = _address(listen, "--listen"), None if http is None else _address(http, "--http")
    daemon = Daemon(read_spec(spec), read_key(key_file), *where, otlp, grace)
    daemon.run(started)


def _address(text: str, option: str) -> Address:
    host, _, port = text.rpartition(":")
    if not host or not port.isdecimal() or int(port) > 65535:
        raise InputError(
            subject=f"{option} {text}", problem="is no HOST:PORT", way_out=f"write {option} 127.0.0.1:7400"
        )
    return host, int(port)
