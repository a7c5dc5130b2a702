"""Waiting for a free place, against closed forms and against small simulations."""

import heapq
import math
import random
from dataclasses import replace

import pytest

from tests.plan.test_build import voice
from weft.plan.queueing import traffic_of, wait_s


def erlang_wait_s(places: int, utilisation: float, visit_s: float) -> float:
    """M/M/c, exact."""
    offered = places * utilisation
    blocked = 1.0
    for count in range(1, places + 1):
        blocked = offered * blocked / (count + offered * blocked)
    waits = blocked / (1 - utilisation * (1 - blocked))
    return waits * visit_s / (places * (1 - utilisation))


@pytest.mark.parametrize("utilisation", [0.1, 0.5, 0.8, 0.95])
def test_one_place_is_pollaczek_khinchine(utilisation: float) -> None:
    for variability in (0.0, 0.5, 1.0, 4.0):
        exact = utilisation / (1 - utilisation) * (1 + variability) / 2 * 3.0
        assert float(wait_s(1, utilisation, 3.0, variability)) == pytest.approx(exact)


@pytest.mark.parametrize("places", [1, 2, 4, 16, 64])
def test_many_places_are_near_erlang(places: int) -> None:
    """Never below it by more than 3 %, above by at most 5 % and a fortieth of a visit."""
    for utilisation in (0.5, 0.7, 0.8, 0.9):
        exact = erlang_wait_s(places, utilisation, 1.0)
        assert 0.97 * exact <= float(wait_s(places, utilisation, 1.0, 1.0)) <= 1.05 * exact + 0.025


def test_a_full_pool_waits_for_ever_and_an_idle_one_never() -> None:
    assert math.isinf(float(wait_s(4, 1.0, 1.0)))
    assert float(wait_s(4, 0.0, 1.0)) == 0.0
    assert float(wait_s(4, 1.0, 0.0)) == 0.0, "work that takes no time waits for none"


@pytest.mark.parametrize("packing", [1.0, 0.5, 0.2])
@pytest.mark.parametrize(("batch", "replicas"), [(1, 1), (1, 3), (4, 1), (8, 3)])
def test_a_planned_first_token_is_no_earlier_than_a_simulated_one(packing: float, batch: int, replicas: int) -> None:
    """Prompts of a batch share its time; each after the first adds `packing` of a prompt alone. The plan counts the
    full batch and a wait among replicas × batch places: at most 15 % too early where packing saves most."""
    full_s = 1 + (batch - 1) * packing
    for utilisation in (0.3, 0.6, 0.8):
        planned_s = full_s + float(wait_s(replicas * batch, utilisation, full_s))
        simulated_s = _simulated_ttft_s(batch, replicas, utilisation, packing)
        assert planned_s >= 0.85 * simulated_s
        if batch == 1:
            assert planned_s == pytest.approx(simulated_s, rel=0.1)


def _simulated_ttft_s(batch: int, replicas: int, utilisation: float, packing: float, prompts: int = 30_000) -> float:
    draw = random.Random(7)
    full_s = 1 + (batch - 1) * packing
    rate_per_s = utilisation * replicas * batch / full_s
    arrivals, now_s = [], 0.0
    for _ in range(prompts):
        now_s += draw.expovariate(rate_per_s)
        arrivals.append(now_s)
    free_s, first, total_s = [0.0] * replicas, 0, 0.0
    while first < prompts:
        start_s = max(heapq.heappop(free_s), arrivals[first])
        last = first
        while last < prompts and last - first < batch and arrivals[last] <= start_s:
            last += 1
        end_s = start_s + 1 + (last - first - 1) * packing
        total_s += sum(end_s - at_s for at_s in arrivals[first:last])
        heapq.heappush(free_s, end_s)
        first = last
    return total_s / prompts


def test_the_load_says_how_busy_a_pool_of_one_task_is() -> None:
    """1.5 visits of each of 5 runs/s keep 3.75 replicas of 0.5 s busy: five at 0.8, each 75 % busy."""
    traffic = traffic_of(voice().task("reason.prefill"), voice())
    assert traffic.alone
    assert float(traffic.wait_s(1, 0.5, 0.5)) == pytest.approx(float(wait_s(5, 0.75, 0.5)))


def test_a_shared_pool_may_be_as_busy_as_any_and_waits_for_the_longest_visit() -> None:
    request = voice()
    other = replace(request.task("reason.prefill"), name="check.prefill", isl=4000, visits=0.1)
    shared = replace(request, tasks=(*request.tasks, other))
    traffic = traffic_of(shared.task("reason.prefill"), shared)
    assert not traffic.alone
    assert traffic.longest.isl == 4000
    assert float(traffic.wait_s(1, 0.5, 2.0)) == pytest.approx(float(wait_s(5, 0.8, 2.0)))
