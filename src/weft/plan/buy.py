"""Which devices to purchase: the cheapest addition to a fleet that carries a load, or the best one within a budget.

The fleet's inventory is what is owned (nothing, or a fleet that grows); every device with a purchase price is for sale.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum

from weft.core.hardware import Device, DeviceGroup, Fleet
from weft.plan.build import Planned, build
from weft.plan.options import device_class
from weft.plan.problem import Objective, Placement
from weft.plan.requests import PlanRequest
from weft.plan.solve import solve


class Aim(StrEnum):
    LEAST_PURCHASE = "usd_to_buy"
    """The smallest bill, of equal ones the fleet that is cheapest to run."""

    LEAST_PER_HOUR = "usd_per_hour"
    """The fleet that is cheapest to run, all costs counted, within the budget."""


@dataclass(frozen=True, slots=True)
class Purchase:
    planned: Planned
    placement: Placement
    prices_usd: Mapping[str, float]

    @property
    def usd(self) -> float:
        return self.placement.usd_to_buy


def purchase(
    request: PlanRequest, market: tuple[Device, ...], budget_usd: float | None, aim: Aim, owns: bool
) -> Purchase:
    """`owns`: the request's fleet is already there; otherwise everything in it must be bought too."""
    zone = request.fleet.groups[0].zone
    owned = {device_class(group): group.count if owns else 0 for group in request.fleet.groups}
    groups = _for_sale(request.fleet, market, zone)
    prices = {device_class(g): g.device.price_usd for g in groups if g.device.price_usd is not None}
    inventory = {name: owned.get(name, 0) for name in map(device_class, groups)}
    wanted = replace(
        request,
        fleet=replace(request.fleet, groups=groups),
        market=prices,
        budget_usd=budget_usd,
        objective=Objective(aim),
    )
    planned = build(wanted)
    problem = replace(planned.problem, inventory=inventory)
    return Purchase(replace(planned, problem=problem), solve(problem), prices)


def _for_sale(fleet: Fleet, market: tuple[Device, ...], zone: str) -> tuple[DeviceGroup, ...]:
    """The fleet's own kinds of device and those of the market, as many of each as anyone would buy."""
    own = {group.device.id for group in fleet.groups}
    new = [DeviceGroup(device, 0, zone) for device in market if device.id not in own and device.price_usd is not None]
    return tuple(replace(group, count=MANY) for group in (*fleet.groups, *new))


MANY = 10_000
"""Devices of a class; a bill limits them, not the shelf."""
