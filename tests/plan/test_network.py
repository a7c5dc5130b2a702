"""Lines between zones and adapters inside them: what fills them, what more of them saves, what is refused."""

from dataclasses import replace

import pytest

from tests.cost.builders import A100, H100, LLAMA_8B, ROCE, SOURCE, cpu
from tests.plan.test_build import FLEET, voice
from weft.core.errors import PlanError
from weft.core.hardware import DeviceGroup, Fleet, Link
from weft.core.units import GIGA, Precision
from weft.plan.build import build
from weft.plan.problem import Placement
from weft.plan.requests import PlanRequest, Serving
from weft.plan.shadow import shadow_prices
from weft.plan.solve import solve

CALLS_PER_RUN = 1.5


def wan(gbit_per_s: float) -> Link:
    return Link("wan", "WAN", gbit_per_s * GIGA / 8, 0.005, 0.0, SOURCE)


def two_zones(gbit_per_s: float, **changed: object) -> PlanRequest:
    """H100s for the prompts in the east, A100s for the answers in the west, one line between them."""
    groups = (DeviceGroup(H100, 2, "east"), DeviceGroup(cpu(), 2, "east"), DeviceGroup(A100, 16, "west"))
    fleet = Fleet("two", groups, {"east": ROCE, "west": ROCE}, {("east", "west"): wan(gbit_per_s)})
    return voice(fleet=fleet, serving=Serving.DISAGGREGATED, **changed)


def planned(request: PlanRequest) -> Placement:
    return solve(build(request).problem)


def test_what_moves_stays_within_the_line() -> None:
    """At 20 runs/s two H100s cannot decode as well: the caches of some calls would have to cross."""
    wide = planned(two_zones(100.0, rate_per_s=20.0))
    kv_bytes = LLAMA_8B.kv_bytes_per_token(Precision.FP16) * 1000
    assert wide.choice["reason.prefill"].split(".")[2:4] != wide.choice["reason.decode"].split(".")[2:4]
    assert wide.link_use["east → west"] >= 20.0 * CALLS_PER_RUN * kv_bytes
    narrow = planned(two_zones(5.0, rate_per_s=20.0))
    assert narrow.link_use["east → west"] <= 0.8 * 5.0 * GIGA / 8
    assert narrow.usd_per_hour > wide.usd_per_hour


def test_a_wider_line_has_a_price() -> None:
    """The line is 1 Gbit/s short of the load of the caches: that gigabit is worth the difference of the two plans."""
    load_gbit = planned(two_zones(100.0, rate_per_s=20.0)).link_use["east → west"] * 8 / GIGA / 0.8
    request = two_zones(load_gbit - 0.5, rate_per_s=20.0)
    found, wider = planned(request), planned(two_zones(load_gbit + 0.5, rate_per_s=20.0))
    prices = {each.change: each.saves_usd_per_hour for each in shadow_prices(request, found, {})}
    assert prices["1 Gbit/s more on wan"] == pytest.approx(found.objective - wider.objective)
    assert found.objective > wider.objective


def test_a_line_that_carries_nothing_is_named() -> None:
    """All language models in the west, all speech in the east: the words must cross."""
    groups = (DeviceGroup(cpu(), 2, "east"), DeviceGroup(A100, 16, "west"))
    fleet = Fleet("two", groups, {"east": ROCE, "west": ROCE}, {("east", "west"): wan(1e-6)})
    with pytest.raises(PlanError, match=r"link (east → west|west → east): 5 requests/s .* it has 1e-06; choose a fast"):
        planned(voice(fleet=fleet))


def test_adapters_limit_what_a_pool_sends() -> None:
    """Behind 1 Gbit/s adapters the caches, not the compute, decide how many replicas prefill takes."""
    request = voice(serving=Serving.DISAGGREGATED, rate_per_s=20.0)
    slow = replace(request, fleet=replace(FLEET, zone_link={"a": replace(ROCE, bytes_per_s=10 * GIGA / 8)}))
    problem = build(slow).problem
    found = solve(problem)
    option = next(
        each for each in problem.task("reason.prefill").options if each.name == found.choice["reason.prefill"]
    )
    kv_bytes = LLAMA_8B.kv_bytes_per_token(Precision.FP16) * 1000
    devices = found.replicas[option.pool.name] * option.pool.devices_per_replica
    assert devices * 0.8 * 10 * GIGA / 8 >= 20.0 * CALLS_PER_RUN * kv_bytes
    assert found.usd_per_hour > planned(request).usd_per_hour
