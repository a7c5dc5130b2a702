"""What `weft top` draws of a server's status, in the room that there is: 80 columns and 24 lines are enough."""

import time
from collections import Counter
from collections.abc import Iterable, Sequence

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from weft.serve.status import AgentStatus, NodeStatus, PoolStatus, Status

DECISIONS = 5
GOOD, FAIR = 0.95, 0.8
WIDEST = 30  # of a name
SLOWER = 1.1
"""A node that takes so much longer than planned is told."""
STYLES = {"ready": "green", "draining": "yellow"}
ABOVE = 4  # lines beside rows of tables: the title, two heads and a gap

Cell = str | Text


def view(status: Status, url: str, lines: int | None = None) -> RenderableType:
    """Where `lines` have no room for every node, one line a pool; None: as many as there are."""
    fleets = [agent for agent in status.agents if agent.pools]
    decisions = list(_decisions(fleets))
    pools = _named(fleets)
    rows = sum(max(1, len(pool.nodes)) for _, pool in pools)
    whole = lines is None or ABOVE + len(status.agents) + rows + len(decisions) <= lines
    return Group(_title(status, url), _agents(status), Text(""), _fleet(pools, whole=whole), *decisions)


def _title(status: Status, url: str) -> Text:
    at = time.strftime("%H:%M:%S", time.localtime(status.at_s))
    now = sum(each.usd_per_hour for each in status.agents)
    planned = sum(each.planned_usd_per_hour for each in status.agents)
    return Text(f"weft top  {url}  {at}  {now:.2f} of {planned:.2f} $/h planned", style="dim", no_wrap=True)


def _table(names: Sequence[str], numbers: Sequence[str]) -> Table:
    """Of headings. Where there is no room names are cut, never numbers. Nothing wraps."""
    table = Table(box=None, pad_edge=False)
    for heading in names:
        table.add_column(heading, max_width=WIDEST)
    for heading in numbers:
        table.add_column(heading, justify="right", no_wrap=True)
    return table


def _name(name: str, style: str = "") -> Text:
    return Text(name, style, no_wrap=True, overflow="ellipsis")


def _agents(status: Status) -> Table:
    """Rates and prices as now/planned. Models that are served by name stand below the agent whose nodes they are on."""
    table = _table(["agent"], ["runs/s", "now", "ended", "failed", "in time", "$/h", "spent", "cached"])
    for each in sorted(status.agents, key=lambda each: (each.of or each.name, bool(each.of))):
        cached = f"{each.cached_tokens / each.input_tokens:.0%}" if each.input_tokens else "–"
        table.add_row(
            _name(f"  {each.name}") if each.of else _name(each.name, "bold"),
            f"{each.runs_per_s:.2f}" if each.of else f"{each.runs_per_s:.2f}/{each.planned_per_s:g}",
            str(each.running),
            str(each.ended),
            Text(str(each.failed), style="red" if each.failed else ""),
            _attained(each),
            "" if each.of else f"{each.usd_per_hour:.2f}/{each.planned_usd_per_hour:.2f}",
            f"${each.usd:.2f}" if each.usd >= 1 else f"${each.usd:.2g}",
            cached,
        )
    return table


def _attained(agent: AgentStatus) -> Text:
    if agent.attainment is None:
        return Text("–")
    style = "green" if agent.attainment >= GOOD else "yellow" if agent.attainment >= FAIR else "red"
    return Text(f"{agent.attainment:.1%}", style=style)


def _named(fleets: Sequence[AgentStatus]) -> list[tuple[str, PoolStatus]]:
    """Pools of one name are told apart by their agents."""
    named = [(agent.name, pool) for agent in fleets for pool in agent.pools]
    count = Counter(pool.name for _, pool in named)
    return [(f"{agent}/{pool.name}" if count[pool.name] > 1 else pool.name, pool) for agent, pool in named]


def _fleet(pools: Sequence[tuple[str, PoolStatus]], *, whole: bool) -> Table:
    table = _table(["pool", "device"], ["nodes", "node", "state", "running", "queued", "slow"])
    for name, pool in pools:
        rows = [_node(pool, node) for node in pool.nodes] if whole else [_together(pool)] if pool.nodes else []
        for number, row in enumerate(rows or [["", Text("nobody", style="red"), "", str(pool.waiting), ""]]):
            table.add_row(*(["", "", ""] if number else _pool(name, pool)), *row)
    return table


def _pool(name: str, pool: PoolStatus) -> list[Cell]:
    short = len(pool.nodes) < pool.planned
    nodes = Text(f"{len(pool.nodes)}/{pool.planned}", style="yellow" if short else "")
    return [_name(name), _name(pool.nodes[0].device if pool.nodes else pool.device), nodes]


def _node(pool: PoolStatus, node: NodeStatus) -> list[Cell]:
    name = node.name.removeprefix(pool.name) or "#0"
    state = Text(node.state, style=STYLES.get(node.state, "red"))
    return [name, state, str(node.running), _queue(node.waiting), _slow(node.slow)]


def _together(pool: PoolStatus) -> list[Cell]:
    states = Counter(node.state for node in pool.nodes)
    worst = next(state for state in ("failing", "draining", "ready") if states[state])
    told = worst if len(states) == 1 else f"{states[worst]} {worst}"
    running = sum(node.running for node in pool.nodes)
    slow = max(node.slow for node in pool.nodes)
    return ["all", Text(told, style=STYLES.get(worst, "red")), str(running), _queue(pool.waiting), _slow(slow)]


def _queue(waiting: int) -> Text:
    return Text(str(waiting), style="yellow" if waiting else "")


def _slow(slow: float) -> str:
    return f"{slow:.1f}×" if slow > SLOWER else ""


def _decisions(agents: Sequence[AgentStatus]) -> Iterable[Text]:
    if free := [agent.name for agent in agents if not agent.controlled]:
        yield Text(f"nobody controls {', '.join(free)}: weft serve --control N", style="dim", no_wrap=True)
    for agent in agents:
        for each in agent.decisions[-DECISIONS:] if agent.controlled else ():
            did = f"{agent.name} at {each.at_s:.0f} s: {each.change} {each.count} of {each.pool}: {each.why}"
            yield Text(did, no_wrap=True, overflow="ellipsis")
