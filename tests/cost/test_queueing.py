"""Closed-form queues as special cases of the occupancy of a station."""

import math

import numpy as np
import pytest

from weft.cost.queueing import mean_wait_s, occupancy


@pytest.mark.parametrize("busy", [0.1, 0.5, 0.9])
def test_mm1_and_md1_and_mg1(busy: float):
    """Service of 1 s: W = ρ/(1−ρ) for M/M/1, half of that for M/D/1, (1+cv²)/2 of it for M/G/1."""
    assert mean_wait_s(busy, 1.0, 1.0) == pytest.approx(busy / (1 - busy))
    assert mean_wait_s(busy, 1.0, 0.0) == pytest.approx(busy / (1 - busy) / 2)
    assert mean_wait_s(busy, 1.0, 2.0) == pytest.approx(busy / (1 - busy) * 2.5)
    assert mean_wait_s(busy, 1.0, 0.0, arrival_cv=0.0) == 0.0


def test_a_server_that_cannot_keep_up_makes_wait_without_end():
    assert mean_wait_s(2.0, 0.5, 1.0) == np.inf
    with pytest.raises(ValueError, match="reach a station"):
        occupancy(2.0, np.array([2.0]))


@pytest.mark.parametrize("cv", [0.0, 1.0, 1.7])
def test_one_slot_is_mg1(cv: float):
    found = occupancy(0.6, np.array([1.0]), cv)
    assert found.share == pytest.approx([0.4, 0.6])
    assert found.share[-1] * found.wait_s == pytest.approx(mean_wait_s(0.6, 1.0, cv))


@pytest.mark.parametrize(("slots", "offered"), [(2, 1.2), (8, 6.5), (64, 50.0)])
def test_equal_servers_are_erlang_c(slots: int, offered: float):
    """M/M/c: Erlang's delay formula, and a wait of 1/(cμ − λ) for those that wait."""
    found = occupancy(offered, np.arange(1.0, slots + 1))
    parts = [offered**n / math.factorial(n) for n in range(slots)]
    last = offered**slots / math.factorial(slots) / (1 - offered / slots)
    assert found.share[-1] == pytest.approx(last / (sum(parts) + last))
    assert found.wait_s == pytest.approx(1 / (slots - offered))


def test_room_for_all_is_poisson():
    """M/M/∞."""
    found = occupancy(20.0, np.arange(1.0, 400.0))
    assert found.mean == pytest.approx(20.0)
    assert found.share @ (np.arange(400) - 20.0) ** 2 == pytest.approx(20.0)


def test_shared_speed_is_geometric():
    """M/G/1 processor sharing: (1−ρ) ρⁿ."""
    found = occupancy(0.7, np.ones(200))
    assert found.share[:5] == pytest.approx([0.3 * 0.7**n for n in range(5)])


def test_nobody_comes():
    assert occupancy(0.0, np.ones(3)).share == pytest.approx([1, 0, 0, 0])
