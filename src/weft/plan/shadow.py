"""Shadow prices: what one more unit of something limited saves an hour, by planning again with it.

Whole replicas make cost a staircase, so the price of one more device is the difference of two plans, not a dual. The
duals of the relaxation (fractions of replicas, split traffic) are the price of a very small change of a large fleet.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from weft.core.errors import PlanError
from weft.core.hardware import Fleet, Link
from weft.plan.build import build
from weft.plan.formulation import Formulation
from weft.plan.options import device_class
from weft.plan.problem import Placement, PlacementProblem
from weft.plan.requests import PlanRequest
from weft.plan.solve import solve

MILLISECOND_S = 1e-3
GIGABIT_BYTES = 1e9 / 8
SAME_USD = 1e-6


@dataclass(frozen=True, slots=True)
class ShadowPrice:
    """What a change saves, in dollars an hour; below 0 it costs; None where no plan is left."""

    change: str
    saves_usd_per_hour: float | None


def shadow_prices(request: PlanRequest, placement: Placement, used: Mapping[str, int]) -> tuple[ShadowPrice, ...]:
    """`used`: devices in use by class. Changes that cannot matter are not planned again: a class of which some stand
    idle can lose one, and none is missed where one more of all changes nothing."""
    prices = [*_more_devices(request, placement), *_fewer_devices(request, placement, used)]
    prices += [_price(change, changed, placement) for change, changed in _loosened(request)]
    return tuple(prices)


def _more_devices(request: PlanRequest, placement: Placement) -> Iterator[ShadowPrice]:
    everything = replace(request, fleet=_resized(request.fleet, dict.fromkeys(_classes(request), 1)))
    best = _price("", everything, placement).saves_usd_per_hour or 0.0
    for name in _classes(request):
        more = replace(request, fleet=_resized(request.fleet, {name: 1}))
        change = f"one more {name}"
        yield _price(change, more, placement) if best > SAME_USD else ShadowPrice(change, 0.0)


def _fewer_devices(request: PlanRequest, placement: Placement, used: Mapping[str, int]) -> Iterator[ShadowPrice]:
    for group in request.fleet.groups:
        name = device_class(group)
        if used.get(name, 0) == group.count:
            yield _price(f"one fewer {name}", replace(request, fleet=_resized(request.fleet, {name: -1})), placement)


def _loosened(request: PlanRequest) -> Iterator[tuple[str, PlanRequest]]:
    slo = request.slo
    for name in ("ttft_s", "tpot_s", "e2e_s"):
        limit_s = getattr(slo, name)
        if limit_s is not None:
            yield f"1 ms more {name}", replace(request, slo=replace(slo, **{name: limit_s + MILLISECOND_S}))
    for promise in request.promises:
        looser = replace(promise, limit_s=promise.limit_s + MILLISECOND_S)
        others = tuple(looser if each is promise else each for each in request.promises)
        yield f"1 ms more {promise.name}", replace(request, promises=others)
    for link in _links(request.fleet):
        yield f"1 Gbit/s more on {link.id}", replace(request, fleet=_faster(request.fleet, link))
    yield "1 run/s more", replace(request, rate_per_s=request.rate_per_s + 1.0)


def _price(change: str, changed: PlanRequest, placement: Placement) -> ShadowPrice:
    try:
        saved = placement.objective - solve(build(changed).problem).objective
    except PlanError:
        return ShadowPrice(change, None)
    return ShadowPrice(change, 0.0 if abs(saved) < SAME_USD else saved)


def _classes(request: PlanRequest) -> tuple[str, ...]:
    return tuple(device_class(group) for group in request.fleet.groups)


def _resized(fleet: Fleet, more: Mapping[str, int]) -> Fleet:
    """With so many more devices of some classes; a class without devices goes."""
    groups = [replace(group, count=group.count + more.get(device_class(group), 0)) for group in fleet.groups]
    return replace(fleet, groups=tuple(group for group in groups if group.count > 0))


def _links(fleet: Fleet) -> tuple[Link, ...]:
    links = [*fleet.zone_link.values(), *fleet.cross_links.values()]
    return tuple({link.id: link for link in links}.values())


def _faster(fleet: Fleet, link: Link) -> Fleet:
    def changed(each: Link) -> Link:
        return replace(each, bytes_per_s=each.bytes_per_s + GIGABIT_BYTES) if each.id == link.id else each

    zones = {zone: changed(each) for zone, each in fleet.zone_link.items()}
    return replace(
        fleet, zone_link=zones, cross_links={ends: changed(each) for ends, each in fleet.cross_links.items()}
    )


def marginal_prices(problem: PlacementProblem) -> Mapping[str, float]:
    """Of the relaxation: what a little more of each class, of a promise, or of a link (a byte a second) saves in the
    unit of the objective; empty where there is no solution."""
    formulation = Formulation(replace(problem, split=True))
    relaxed = formulation.model.relaxed(formulation.cost())
    if relaxed is None:
        return {}
    priced = formulation.row_of.items()
    return {
        name: -sum(relaxed.duals[row] for row in each.rows) / each.unit / formulation.scale for name, each in priced
    }


def relaxed_cost(problem: PlacementProblem) -> float | None:
    """The least cost with fractions of replicas and split traffic: a bound on any plan's cost."""
    formulation = Formulation(replace(problem, split=True))
    relaxed = formulation.model.relaxed(formulation.cost())
    return None if relaxed is None else relaxed.objective / formulation.scale
