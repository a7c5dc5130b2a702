"""`weft node`: one node process that stands by itself, for another machine or a supervisor."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.console import Console

from weft.cli.cache_options import CacheOptions
from weft.cli.groups import grouped
from weft.core.errors import InputError
from weft.runtime.daemon import Address, Daemon, read_key, read_spec

Spec = Annotated[Path, typer.Argument(help="What the node is and serves: JSON or TOML, see docs/runtime.md.")]
Key = Annotated[Path, typer.Option(help="A file with the key of the fleet in hex; only its owner may read it.")]
Listen = Annotated[str, typer.Option(help="HOST:PORT for steps; port 0: any free one.")]
Http = Annotated[str | None, typer.Option(help="HOST:PORT for /healthz, /readyz and /metrics.")]
Otlp = Annotated[str | None, typer.Option(help="Send spans here: http://collector:4318/v1/traces.")]
Grace = Annotated[float, typer.Option(help="Seconds that steps may take after SIGTERM.")]


@dataclass(frozen=True, slots=True)
class NodeOptions:
    spec: Spec
    key_file: Key
    listen: Listen = "127.0.0.1:0"
    http: Http = None
    otlp: Otlp = None
    grace: Grace = 30.0


def register(app: typer.Typer) -> None:
    app.command("node")(grouped(node))


def node(wanted: NodeOptions, cache: CacheOptions) -> None:
    """Serve steps until SIGTERM, then drain: running steps end, new ones are refused. A second signal ends at once."""
    console = Console(soft_wrap=True, highlight=False)
    spec, tiers, http = read_spec(wanted.spec), cache.tiers(), wanted.http
    if tiers is not None and spec.cache is not None:
        problem, way_out = "names tiers, and so do options", "leave out its [cache], or the --cache- options"
        raise InputError(subject=str(wanted.spec), problem=problem, way_out=way_out)
    spec = spec if tiers is None else msgspec.structs.replace(spec, cache=tiers)

    def started(address: str, port: int | None) -> None:
        health = f", health and metrics on port {port}" if port is not None else ""
        console.print(f"node {daemon.spec.name} serves steps on {address}{health}", markup=False)

    where = _address(wanted.listen, "--listen"), None if http is None else _address(http, "--http")
    daemon = Daemon(spec, read_key(wanted.key_file), *where, wanted.otlp, wanted.grace)
    daemon.run(started)


def _address(text: str, option: str) -> Address:
    host, _, port = text.rpartition(":")
    if not host or not port.isdecimal() or int(port) > 65535:
        raise InputError(
            subject=f"{option} {text}", problem="is no HOST:PORT", way_out=f"write {option} 127.0.0.1:7400"
        )
    return host, int(port)
