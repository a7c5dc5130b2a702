"""The control loop's policy: what it wants follows from what is there; it neither flaps nor goes below the load."""

from dataclasses import replace
from math import ceil

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.serve.deployments import split_llm
from weft.core.deployment import Deployment
from weft.core.errors import CapacityError
from weft.core.workload import Workload
from weft.policy.scaling import Action, Change, PoolSeen, Scaling, ScalingConfig, Snapshot

TERMS = ScalingConfig(utilisation=0.8, quick_s=5, slow_s=20, settle_s=30, cool_down_s=20, start_s=10, clear_s=10)


def plan(utilisation: float = 0.8) -> Deployment:
    """Two pools; each of two replicas that 10 runs a second fill so far."""
    made = split_llm()
    pools = tuple(replace(pool, replicas=2, utilisation=utilisation, busy_w=100.0) for pool in made.pools)
    return replace(made, pools=pools, workload=Workload("test", 10.0))


class Live:
    """A fleet that does at once what it is told, and starts replicas after `start_s`."""

    def __init__(self, scaling: Scaling, ready: int = 2) -> None:
        self.scaling, self.ready, self.starting = scaling, dict.fromkeys("DP", ready), list[tuple[float, str]]()
        self.now_s, self.arrived, self.least_spare = 0.0, 0.0, 0.0
        self.done = list[tuple[float, Action]]()

    def go(self, seconds: int, rate: float) -> None:
        for _ in range(seconds):
            self.now_s += 1
            self.arrived += rate
            for at_s, name in [each for each in self.starting if each[0] <= self.now_s]:
                self.starting.remove((at_s, name))
                self.ready[name] += 1
            pools = tuple(PoolSeen(name, count, self._starting(name)) for name, count in self.ready.items())
            decision = self.scaling.decide(Snapshot(self.now_s, round(self.arrived), pools))
            for action in decision.actions:
                self.done.append((self.now_s, action))
                if action.change is Change.START:
                    self.starting += [(self.now_s + 10, action.pool)] * action.count
                else:
                    self.ready[action.pool] -= action.count

    def _starting(self, name: str) -> int:
        return sum(pool == name for _, pool in self.starting)


def test_at_the_planned_load_nothing_is_done() -> None:
    live = Live(Scaling(plan(), TERMS))
    live.go(300, 10.0)
    assert not live.done


def test_a_load_that_triples_and_falls_is_followed_once() -> None:
    live = Live(Scaling(plan(), TERMS))
    live.go(60, 10.0)
    live.go(100, 30.0)
    assert live.ready == {"D": 6, "P": 6} and live.done[-1][0] < 160
    live.go(25, 15.0)
    assert live.ready == {"D": 6, "P": 6}  # not believed yet
    live.go(120, 15.0)
    assert live.ready == {"D": 4, "P": 4}  # three would be as full as they may be
    changes = [action.change for _, action in live.done if action.pool == "P"]
    assert changes == sorted(changes, reverse=True)  # all starts, then all drains


def test_what_died_is_started_again_and_what_is_slow_gets_company() -> None:
    scaling = Scaling(plan(), TERMS)
    seen = PoolSeen("P", 1, slow=1.0), PoolSeen("D", 2, slow=2.0)
    actions = {action.pool: action for action in scaling.decide(Snapshot(0.0, 0, seen)).actions}
    assert (actions["P"].change, actions["P"].count) == (Change.START, 1)
    assert (actions["D"].change, actions["D"].count) == (Change.START, 2)
    assert "2.0 times slower" in actions["D"].why


def test_a_queue_is_gone_in_time() -> None:
    """40 runs in 10 s are 4 runs a second more."""
    decision = Scaling(plan(), TERMS).decide(Snapshot(0.0, 0, (PoolSeen("P", 2, waiting=40),)))
    assert decision.findings[0].needed == ceil(2 * 1.4)


def test_an_oscillating_load_does_not_make_it_flap() -> None:
    live = Live(Scaling(plan(), TERMS))
    for _ in range(20):
        live.go(10, 9.0)
        live.go(10, 14.0)
    assert len([each for each in live.done if each[1].pool == "P"]) <= 1


def test_idle_pools_go_to_none_and_wake() -> None:
    live = Live(Scaling(plan(), replace(TERMS, idle_s=60.0)))
    live.go(30, 10.0)
    live.go(120, 0.0)
    assert live.ready == {"D": 0, "P": 0}
    live.go(15, 1.0)
    assert min(live.ready.values()) >= 1


@settings(max_examples=60)
@given(
    st.lists(st.tuples(st.floats(0, 80), st.integers(0, 6), st.integers(0, 4), st.integers(0, 50)), max_size=20),
    st.sampled_from([None, 4.0, 9.5]),
)
def test_no_action_breaks_a_limit(looks: list[tuple[float, int, int, int]], usd: float | None) -> None:
    config = replace(TERMS, most=8, most_usd_per_hour=usd)
    scaling, arrived = Scaling(plan(), config), 0.0
    for at, (rate, ready, starting, waiting) in enumerate(looks):
        arrived += rate * 10
        pools = (PoolSeen("P", ready, starting, waiting=waiting), PoolSeen("D", ready, starting))
        decision = scaling.decide(Snapshot(10.0 * at, round(arrived), pools))
        needed = {each.pool: each.needed for each in decision.findings}
        started = sum(each.count for each in decision.actions if each.change is Change.START)
        for action in decision.actions:
            assert action.count > 0 and action.why
            if action.change is Change.DRAIN:
                assert ready - action.count >= min(needed[action.pool], ready)
            else:
                assert ready + starting + action.count <= 8
        if usd is not None and started:
            assert 2 * (ready + starting) + started <= usd  # a replica costs 1 $/h


def test_impossible_terms_are_refused() -> None:
    with pytest.raises(CapacityError, match="utilisation 0"):
        ScalingConfig(utilisation=0.0)
