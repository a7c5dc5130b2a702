"""`weft top`: a running server in the terminal: fleet, agents, objective, price, queues, caches, what control did."""

import time
import urllib.request
from dataclasses import dataclass
from typing import Annotated
from urllib.error import URLError

import msgspec
import typer
from rich.console import Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from weft.cli.console import wide_console
from weft.cli.groups import grouped
from weft.core.errors import InputError
from weft.core.units import pretty_usd
from weft.serve.status import AgentStatus, NodeStatus, PoolStatus, Status

TIMEOUT_S = 5.0
DECISIONS = 5
GOOD, FAIR = 0.95, 0.8


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
                live.update(view(_look(options.url), options.url), refresh=True)
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


def view(status: Status, url: str) -> RenderableType:
    at = time.strftime("%H:%M:%S", time.localtime(status.at_s))
    parts: list[RenderableType] = [Text(f"weft top  {url}  {at}", style="dim"), _agents(status)]
    for agent in status.agents:
        parts += [Text(""), _fleet(agent), *_decisions(agent)]
    return Group(*parts)


def _agents(status: Status) -> Table:
    table = Table(
        "agent", "runs/s", "planned", "under way", "ended", "failed", "in objective", box=None, pad_edge=False
    )
    for heading in ("$/h", "planned", "spent", "prompt cached"):
        table.add_column(heading)
    for each in status.agents:
        table.add_row(
            Text(each.name, style="bold"),
            f"{each.runs_per_s:.2f}",
            f"{each.planned_per_s:g}",
            str(each.running),
            str(each.ended),
            Text(str(each.failed), style="red" if each.failed else ""),
            _attained(each),
            f"{each.usd_per_hour:.2f}",
            f"{each.planned_usd_per_hour:.2f}",
            pretty_usd(each.usd),
            f"{each.cached_tokens / each.input_tokens:.0%}" if each.input_tokens else "–",
        )
    return table


def _attained(agent: AgentStatus) -> Text:
    if agent.attainment is None:
        return Text("–")
    style = "green" if agent.attainment >= GOOD else "yellow" if agent.attainment >= FAIR else "red"
    return Text(f"{agent.attainment:.1%} of {agent.objective}", style=style)


def _fleet(agent: AgentStatus) -> Table:
    table = Table(f"{agent.name}: pool", "nodes", "planned", "device", "waiting", box=None, pad_edge=False)
    for heading in ("node", "state", "running", "queued", "slow"):
        table.add_column(heading)
    for pool in agent.pools:
        nodes: list[NodeStatus | None] = [*pool.nodes] or [None]
        for number, node in enumerate(nodes):
            table.add_row(*(_pool(pool) if not number else [""] * 5), *_node(node))
    return table


def _pool(pool: PoolStatus) -> list[str | Text]:
    short = len(pool.nodes) < pool.planned
    device = pool.nodes[0].device if pool.nodes else pool.device
    waiting = Text(str(pool.waiting), style="yellow" if pool.waiting else "")
    return [pool.name, Text(str(len(pool.nodes)), style="yellow" if short else ""), str(pool.planned), device, waiting]


def _node(node: NodeStatus | None) -> list[str | Text]:
    if node is None:
        return [Text("nobody", style="red"), "", "", "", ""]
    state = Text(node.state, style={"ready": "green", "draining": "yellow"}.get(node.state, "red"))
    slow = f"{node.slow:.1f}×" if node.slow > 1.1 else ""
    return [node.name, state, str(node.running), str(node.waiting), slow]


def _decisions(agent: AgentStatus) -> list[RenderableType]:
    if not agent.controlled:
        return [Text("nobody controls it: weft serve --control N", style="dim")]
    lately = agent.decisions[-DECISIONS:]
    return [Text(f"at {each.at_s:.0f} s {each.change} {each.count} of {each.pool}: {each.why}") for each in lately]
