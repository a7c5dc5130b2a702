"""A purchase as a table: what is bought for how much, and what it is for."""

from rich import box
from rich.table import Table

from weft.core.units import pretty_seconds, pretty_usd
from weft.plan.buy import Purchase
from weft.report.answers import pools_text, used_pools


def purchase_table(found: Purchase) -> Table:
    table = Table(box=box.SIMPLE_HEAD, title="To buy", title_justify="left", pad_edge=False)
    table.add_column("device", no_wrap=True)
    for heading in ("count", "each", "together"):
        table.add_column(heading, justify="right", no_wrap=True)
    for name, count in sorted(found.placement.bought.items()):
        price = found.prices_usd[name]
        table.add_row(name, str(count), pretty_usd(price), pretty_usd(count * price))
    if not found.placement.bought:
        table.add_row("nothing", "-", "-", "-")
    return table


def purchase_lines(found: Purchase) -> tuple[str, ...]:
    placed = found.placement
    money = f"{pretty_usd(found.usd)} to buy; {pretty_usd(placed.usd_per_hour)}/h all in"
    return (
        f"{money}, {pretty_seconds(placed.e2e_s)} expected a run, gap {placed.gap:.2%}.",
        f"It runs {pools_text(used_pools(placed, found.planned))}.",
    )
