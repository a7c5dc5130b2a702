"""`weft buy`: which devices to purchase for a load, from nothing or on top of a fleet."""

from typing import Annotated

import typer

from weft import catalog
from weft.cli.console import wide_console
from weft.cli.options import DEFAULTS, Agent, Finance, Fleet, Precisions, Rate, Serving, Slo, Workload, compile_request
from weft.compiler.pipeline import plan_request_of
from weft.core.errors import InputError
from weft.core.hardware import Device
from weft.plan.buy import Aim, purchase
from weft.report.purchases import purchase_lines, purchase_table

Budget = Annotated[str | None, typer.Option(help="At most so many dollars of purchases: 250000, 250k, 2M.")]
Owned = Annotated[bool, typer.Option("--owned", help="The fleet is already there: buy only what it lacks.")]
Market = Annotated[list[str] | None, typer.Option("--market", help="Also for sale, by catalogue id [default: all].")]
AimOption = Annotated[
    str | None,
    typer.Option("--aim", help="usd_per_hour (cheapest to run, the default) or usd_to_buy (least bill; with --owned)."),
]

FACTORS = {"k": 1e3, "M": 1e6}


def register(app: typer.Typer) -> None:
    app.command("buy")(buy)


def buy(
    agent: Agent,
    budget: Budget = None,
    owned: Owned = False,
    market: Market = None,
    aim: AimOption = None,
    fleet: Fleet = DEFAULTS.fleet,
    slo: Slo = DEFAULTS.slo,
    workload: Workload = None,
    rate: Rate = DEFAULTS.rate_per_s,
    finance: Finance = DEFAULTS.finance,
    precision: Precisions = None,
    serving: Serving = DEFAULTS.serving,
) -> None:
    """Which devices to purchase for a load."""
    asked = compile_request(agent, fleet, slo, workload, rate, finance, DEFAULTS.catalogue, precision, serving)
    found = purchase(plan_request_of(asked), _market(market), dollars(budget), _aim(aim, owned), owned)
    console = wide_console()
    console.print(purchase_table(found))
    for line in purchase_lines(found):
        console.print(line)


def _market(names: list[str] | None) -> tuple[Device, ...]:
    return tuple(map(catalog.device, names)) if names else tuple(catalog.devices("default").values())


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
