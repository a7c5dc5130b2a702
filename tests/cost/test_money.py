"""Power between idle and TDP, hardware already paid for, refused prices, energy of requests, sensitivity."""

from dataclasses import replace

import pytest

from tests.cost.builders import CLOUD, H100, OWNED, PAPER, SOURCE, device
from weft import catalog
from weft.core.errors import CatalogError
from weft.core.hardware import Finance, Host
from weft.cost.energy import power_w, request_energy_j
from weft.cost.sensitivity import Range, tornado
from weft.cost.tco import depreciation_usd_per_hour, power_usd_per_hour, usd_per_hour


def test_power_between_idle_and_tdp():
    assert power_w(H100) == 700
    assert power_w(H100, utilisation=0.0, idle_share=0.2) == pytest.approx(140)
    assert power_w(H100, utilisation=0.5, idle_share=0.2) == pytest.approx(420)
    assert power_w(H100, utilisation=1.0, idle_share=0.2) == pytest.approx(700)


def test_an_idle_device_still_pays_for_power():
    idle = replace(OWNED, power_utilisation=0.0, idle_power_share=0.2)
    assert power_usd_per_hour(H100, idle) == pytest.approx(0.14 * 0.40)


def test_paid_hardware_costs_its_lost_resale_value():
    """$25,000 bought two years ago, losing 30 % a year: $12,250 now, $3,675 in the coming year."""
    paid = replace(OWNED, paid_years_ago=2.0, annual_depreciation=0.3)
    assert depreciation_usd_per_hour(25_000, paid) == pytest.approx(3_675 / 8_760)
    assert usd_per_hour(H100, paid) == pytest.approx(3_675 / 8_760 + 0.28)
    sunk = replace(paid, annual_depreciation=0.0)
    assert usd_per_hour(H100, sunk) == pytest.approx(0.28)


@pytest.mark.parametrize("price", [float("nan"), -1.0, float("inf")])
def test_prices_that_are_none_are_refused(price: float):
    with pytest.raises(CatalogError, match="a price is finite and not negative"):
        usd_per_hour(device(price_usd=price), PAPER)
    with pytest.raises(CatalogError, match="cloud_usd_per_hour"):
        usd_per_hour(replace(H100, cloud_usd_per_hour=price), CLOUD)


@pytest.mark.parametrize(
    "finance",
    [
        replace(OWNED, usd_per_kwh=float("nan")),
        replace(OWNED, hosting_usd_per_hour=-10.0),
        replace(OWNED, annual_rate=float("nan")),
        replace(OWNED, years=0.0),
    ],
    ids=["nan power", "negative hosting", "nan interest", "no term"],
)
def test_finances_that_make_no_price_are_refused(finance: Finance):
    with pytest.raises(CatalogError, match="finance 'owned': has a term of no years"):
        usd_per_hour(H100, finance)


def test_a_host_is_financed_like_the_device_and_always_on():
    """$4,000 of server, NIC and switch beside $25,000; 300 W beside 700."""
    host = Host("server", "server", 2_500, 1_000, 500, 300, SOURCE)
    hosted, bare = replace(H100, host=host), replace(H100, price_usd=29_000, tdp_w=1_000)
    assert usd_per_hour(hosted, replace(OWNED, with_host=True)) == pytest.approx(usd_per_hour(bare, OWNED))
    assert usd_per_hour(hosted, OWNED) == usd_per_hour(H100, OWNED)
    idle = replace(OWNED, with_host=True, power_utilisation=0.0)
    assert power_usd_per_hour(hosted, idle) == pytest.approx(0.3 * 0.40)
    with pytest.raises(CatalogError, match="h100: has no host in the catalogue"):
        usd_per_hour(H100, replace(OWNED, with_host=True))


def test_hosts_of_the_catalogue():
    """Every device with a price stands in a server or is one; a rental price and the paper's know no host."""
    priced = [each for each in catalog.devices().values() if each.price_usd and each.host]
    assert {"h100-sxm", "gaudi3", "epyc-9965", "a40"} <= {each.id for each in priced}
    for each in priced:
        assert each.host is not None
        assert 1_000 < each.host.usd < 10_000
        assert usd_per_hour(each, catalog.finance("owned-host")) > usd_per_hour(each, catalog.finance("owned"))
    gaudi, h100 = catalog.device("gaudi3").host, catalog.device("h100-sxm").host
    assert gaudi and h100 and gaudi.nic_usd == 0 < h100.nic_usd


def test_energy_of_a_request():
    small = device("small", tdp_w=100)
    assert request_energy_j(((H100, 2.0), (small, 10.0)), pue=1.5) == pytest.approx(1.5 * (1_400 + 1_000))


def test_a_tornado_is_sorted_and_moves_one_input_at_a_time():
    ranges = (Range("a", 1, 2, 3), Range("b", 10, 10, 30), Range("c", 0, 1, 2))
    swings = tornado(lambda inputs: inputs["a"] * inputs["b"] if inputs["c"] else None, ranges)
    assert [swing.input.name for swing in swings] == ["c", "b", "a"]
    assert (swings[1].at_low, swings[1].at_high) == (20, 60)
    assert (swings[2].at_low, swings[2].at_high) == (10, 30)
    assert swings[0].at_low is None
