"""Two plans side by side."""

from collections.abc import Iterator

from rich import box
from rich.table import Table

from weft.core.deployment import Deployment, Pool
from weft.core.units import pretty_seconds, pretty_usd


def comparison_tables(first: Deployment, second: Deployment) -> Iterator[Table]:
    yield _numbers(first, second)
    yield _differences("Pools that differ", _pools(first), _pools(second))
    yield _differences("Steps that move", _steps(first), _steps(second))


def _table(title: str, first: str, second: str, *more: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, title=title, title_justify="left", pad_edge=False)
    table.add_column("", no_wrap=True)
    for heading in (first, second, *more):
        table.add_column(heading, justify="right", overflow="fold")
    return table


def _numbers(first: Deployment, second: Deployment) -> Table:
    table = _table(f"{first.agent} on {first.fleet}, {second.agent} on {second.fleet}", "first", "second", "change")
    rows = (
        ("$/h", first.answer.usd_per_hour, second.answer.usd_per_hour, pretty_usd),
        ("busy $ per 1M runs", first.answer.busy_usd_per_run * 1e6, second.answer.busy_usd_per_run * 1e6, pretty_usd),
        ("expected run", first.answer.e2e_s, second.answer.e2e_s, pretty_seconds),
        ("runs/s", first.workload.rate_per_s, second.workload.rate_per_s, "{:g}".format),
    )
    for name, before, after, pretty in rows:
        table.add_row(name, pretty(before), pretty(after), f"{after / before - 1:+.1%}" if before else "-")
    return table


def _differences(title: str, first: dict[str, str], second: dict[str, str]) -> Table:
    table = _table(title, "first", "second")
    for name in dict.fromkeys([*first, *second]):
        before, after = first.get(name, "-"), second.get(name, "-")
        if before != after:
            table.add_row(name, before, after)
    if not table.row_count:
        table.add_row("none", "", "")
    return table


def _pools(deployment: Deployment) -> dict[str, str]:
    return {pool.name: _pool_text(pool) for pool in deployment.pools}


def _pool_text(pool: Pool) -> str:
    size = f" tp{pool.parallelism.tp}" if pool.parallelism.tp > 1 else ""
    return f"{pool.replicas} × {pool.device}{size} @{pool.zone}, batch {pool.batch_limit}"


def _steps(deployment: Deployment) -> dict[str, str]:
    return {route.step: f"{route.pool}, {pretty_seconds(route.latency_s)}" for route in deployment.routes}
