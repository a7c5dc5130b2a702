"""A fleet that several agents share, as tables: who uses what, and who pays what."""

from rich import box
from rich.table import Table

from weft.core.deployment import Deployment, Pool
from weft.core.units import HOUR_S, pretty_seconds, pretty_usd


def shared_pool_table(deployments: tuple[Deployment, ...]) -> Table:
    """One row a pool: what is bought, how busy all agents keep it, and each agent's part of that."""
    table = Table(box=box.SIMPLE_HEAD, title="Pools", title_justify="left", pad_edge=False)
    for heading in ("pool", "device", "zone"):
        table.add_column(heading, no_wrap=True)
    for heading in ("replicas", "busy", "$/h"):
        table.add_column(heading, justify="right")
    table.add_column("used by", overflow="fold")
    users: dict[str, list[tuple[str, Pool]]] = {}
    for each in deployments:
        for pool in each.pools:
            users.setdefault(pool.name, []).append((each.agent, pool))
    for name, parts in users.items():
        pool = parts[0][1]
        used_by = ", ".join(f"{agent} {part.share:.0%}" for agent, part in parts)
        price = pretty_usd(pool.replicas * pool.usd_per_hour)
        row = (name, pool.device, pool.zone, str(pool.replicas), f"{pool.utilisation:.0%}", price, used_by)
        table.add_row(*row)
    return table


def bill_table(deployment: Deployment) -> Table:
    """One row an agent: what it pays for its part of the fleet, spare capacity included. The bills add up."""
    table = Table(box=box.SIMPLE_HEAD, title="Who pays what", title_justify="left", pad_edge=False, show_footer=True)
    total = deployment.fleet_usd_per_hour
    table.add_column("agent", no_wrap=True, footer="together")
    alone = sum(bill.alone_usd_per_hour for bill in deployment.bills)
    headings = ("runs/s", "run", "$ a million runs", "$/h", "$/h alone")
    for heading, footer in zip(headings, ("", "", "", pretty_usd(total), pretty_usd(alone)), strict=True):
        table.add_column(heading, justify="right", no_wrap=True, footer=footer)
    for bill in deployment.bills:
        per_million = pretty_usd(bill.usd_per_hour / HOUR_S / bill.rate_per_s * 1e6)
        prices = pretty_usd(bill.usd_per_hour), pretty_usd(bill.alone_usd_per_hour)
        table.add_row(bill.agent, f"{bill.rate_per_s:g}", pretty_seconds(bill.e2e_s), per_million, *prices)
    return table
