"""`weft buy`: which devices to purchase for a load, from nothing or on top of a fleet."""

from dataclasses import dataclass, replace
from typing import Annotated

import typer

from weft import catalog
from weft.cli.console import wide_console
from weft.cli.groups import grouped
from weft.cli.options import DEFAULTS, AskOptions, Serving
from weft.compiler.pipeline import plan_request_of
from weft.core.errors import InputError
from weft.core.hardware import Device
from weft.plan.buy import Aim, purchase
from weft.report.purchases import purchase_lines, purchase_table

FACTORS = {"k": 1e3, "M": 1e6}


@dataclass(frozen=True, slots=True)
class BuyOptions:
    """What is for sale, and what is wanted of the purchase."""

    budget: Annotated[str | None, typer.Option(help="At most so many dollars of purchases: 250000, 250k, 2M.")] = None
    owned: Annotated[bool, typer.Option("--owned", help="The fleet is already there: buy only what it lacks.")] = False
    market: Annotated[list[str] | None, typer.Option(help="Also for sale, by catalogue id (default: all).")] = None
    aim: Annotated[
        str | None,
        typer.Option(help="usd_per_hour (cheapest to run, the default) or usd_to_buy (least bill; with --owned)."),
    ] = None
    serving: Serving = DEFAULTS.rules.serving


def register(app: typer.Typer) -> None:
    app.command("buy")(grouped(buy))


def buy(asked: AskOptions, wanted: BuyOptions) -> None:
    """Which devices to purchase for a load."""
    planned = asked.request()
    request = plan_request_of(replace(planned, rules=replace(planned.rules, serving=wanted.serving)))
    market, budget_usd = _market(wanted.market, asked.catalogue), dollars(wanted.budget)
    found = purchase(request, market, budget_usd, _aim(wanted.aim, wanted.owned), wanted.owned)
    console = wide_console()
    console.print(purchase_table(found))
    for line in purchase_lines(found):
        console.print(line)


def _market(names: list[str] | None, catalogue: str) -> tuple[Device, ...]:
    everything = catalog.devices(catalogue)
    return tuple(catalog.device(name, catalogue) for name in names) if names else tuple(everything.values())


def _aim(name: str | None, owned: bool) -> Aim:
    if name is None:
        return Aim.LEAST_PURCHASE if owned else Aim.LEAST_PER_HOUR
    try:
        return Aim(name)
    except ValueError as error:
        way_out = f"choose among {', '.join(Aim)}"
        raise InputError(subject=f"aim {name!r}", problem="is not known", way_out=way_out) from error


def dollars(text: str | None) -> float | None:
    """`2M` is two million."""
    if text is None:
        return None
    try:
        value = float(text.rstrip("kM")) * FACTORS.get(text[-1:], 1.0)
    except ValueError:
        value = -1.0
    if not 0 <= value < float("inf"):
        way_out = "write dollars: 250000, 250k or 2M"
        raise InputError(subject=f"budget {text!r}", problem="is no sum of money", way_out=way_out)
    return value
