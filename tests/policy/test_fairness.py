"""While two tenants wait, what they got differs by no more than the proven bound; settling repays."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.effort import cases
from weft.core.errors import CapacityError
from weft.policy.fairness import FairQueue

TENANTS = ("a", "b", "c")
EVENTS = st.lists(
    st.one_of(st.tuples(st.sampled_from(TENANTS), st.floats(1, 50)), st.just("pop")), min_size=20, max_size=150
)


@settings(max_examples=cases(100), deadline=None)
@given(EVENTS, st.tuples(st.floats(0.5, 4), st.floats(0.5, 4), st.floats(0.5, 4)))
def test_shares_are_within_the_bound(events: list[tuple[str, float] | str], weights: tuple[float, ...]) -> None:
    queue = FairQueue[float]()
    weight = dict(zip(TENANTS, weights, strict=True))
    for tenant in TENANTS:
        queue.set_weight(tenant, weight[tenant])
    waiting = dict.fromkeys(TENANTS, 0)
    got: list[tuple[str, float, frozenset[str]]] = []  # tenant, cost, who waited before
    for event in events:
        if isinstance(event, tuple):
            queue.push(event[0], event[1], event[1])
            waiting[event[0]] += 1
        elif len(queue):
            backlog = frozenset(tenant for tenant in TENANTS if waiting[tenant])
            dispatch = queue.pop()
            waiting[dispatch.tenant] -= 1
            got.append((dispatch.tenant, dispatch.item, backlog))
    largest = {tenant: max((cost for name, cost, _ in got if name == tenant), default=0.0) for tenant in TENANTS}
    for one, other in (("a", "b"), ("b", "c"), ("a", "c")):
        bound = largest[one] / weight[one] + largest[other] / weight[other]
        for start in range(len(got)):
            ahead = 0.0
            for tenant, cost, backlog in got[start:]:
                if not {one, other} <= backlog:
                    break
                ahead += cost / weight[tenant] * ((tenant == one) - (tenant == other))
                assert abs(ahead) <= bound * (1 + 1e-9)


def test_inside_a_tenant_the_smallest_rank_goes_first() -> None:
    queue = FairQueue[str]()
    for name, rank in (("late", 3.0), ("soon", 1.0), ("also soon", 1.0)):
        queue.push("a", 1.0, name, rank)
    assert [queue.pop().item for _ in range(3)] == ["soon", "also soon", "late"]


def test_who_was_away_has_no_credit_and_who_cost_more_pays() -> None:
    queue = FairQueue[int]()
    for index in range(10):
        queue.push("busy", 10.0, index)
    for _ in range(5):
        queue.pop()
    for index in range(5):
        queue.push("back", 10.0, index)
    assert [queue.pop().tenant for _ in range(6)].count("back") == 3
    queue.settle("back", 10.0, 40.0)
    assert [queue.pop().tenant for _ in range(2)] == ["busy", "busy"]


def test_tenants_that_went_are_forgotten() -> None:
    queue = FairQueue[int]()
    for index in range(5000):
        queue.push(f"tenant {index}", 1.0, index)
        queue.pop()
        queue.push("steady", 1.0, index)
        queue.pop()
    assert len(queue._tenants) < 2100


def test_impossible_weights_and_costs_are_refused() -> None:
    queue = FairQueue[int]()
    with pytest.raises(CapacityError, match="weight 0"):
        queue.set_weight("a", 0.0)
    with pytest.raises(CapacityError, match="cost -1"):
        queue.push("a", -1.0, 1)
