"""Keep, offload or drop: costs against the best in hindsight, within the bounds that are proven for the rule."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from weft.core.errors import CapacityError
from weft.policy.retention import Cache, RetentionConfig, Then, ToolTimes, retain

CACHES = st.builds(
    Cache, st.floats(1e-4, 1), st.floats(1e-3, 1), st.floats(1e-4, 10) | st.just(math.inf), st.floats(1e-4, 10)
)
CONFIGS = st.builds(RetentionConfig, st.floats(0.05, 1), st.floats(0, 1), st.just(0.0) | st.floats(1e-9, 2))


def _cost(cache: Cache, predicted_s: float, took_s: float, config: RetentionConfig) -> tuple[float, float]:
    """What the rule pays, and what the best in hindsight does."""
    plan = retain(cache, predicted_s, config)
    paid = plan.keep_per_s * min(took_s, plan.hold_s) + (plan.then_cost_s if took_s > plan.hold_s else 0.0)
    return paid, min(plan.keep_per_s * took_s, plan.then_cost_s)


@given(CACHES, st.floats(1e-3, 1e4), st.floats(1e-3, 1e4), CONFIGS)
def test_a_wrong_prediction_costs_at_most_1_plus_1_over_trust(
    cache: Cache, predicted_s: float, took_s: float, config: RetentionConfig
) -> None:
    paid, best = _cost(cache, predicted_s, took_s, config)
    assert paid <= (1 + 1 / config.trust) * best * (1 + 1e-9)


@given(CACHES, st.floats(1e-3, 1e4), CONFIGS)
def test_a_right_prediction_costs_at_most_1_plus_trust(cache: Cache, took_s: float, config: RetentionConfig) -> None:
    paid, best = _cost(cache, took_s, took_s, config)
    assert paid <= (1 + config.trust) * best * (1 + 1e-9)


def test_the_cheaper_way_out_is_taken() -> None:
    assert retain(Cache(0.1, 1.0, move_s=0.05, recompute_s=2.0), 60.0).then is Then.OFFLOAD
    assert retain(Cache(0.1, 1.0, move_s=5.0, recompute_s=0.01), 60.0).then is Then.DROP
    assert retain(Cache(0.1, 1.0, move_s=math.inf, recompute_s=9.0), 60.0).then is Then.DROP


def test_an_idle_replica_keeps_and_a_crowded_one_lets_go_of_long_calls() -> None:
    cache = Cache(0.1, 0.0, 0.05, 1.0)
    assert retain(cache, 1e9).hold_s == math.inf
    crowded = retain(Cache(0.1, 1.0, 0.05, 1.0), 60.0)
    assert crowded.hold_s == pytest.approx(0.5 * (0.2 + 0.5) * 0.05 / 0.1)
    assert "to offload costs 0.035" in crowded.reason
    assert retain(Cache(0.1, 1.0, 0.05, 1.0), 0.1).hold_s == pytest.approx((0.2 + 0.5) * 0.05 / 0.1 / 0.5)


def test_tool_times_are_means_that_forget() -> None:
    times = ToolTimes(prior_s=3.0, weight=0.25)
    assert times.predict_s("search") == 3.0
    for took_s in (1.0, 2.0, 3.0):
        times.observe("search", took_s)
    assert times.predict_s("search") == pytest.approx(2.0)
    for _ in range(50):
        times.observe("search", 10.0)
    assert times.predict_s("search") == pytest.approx(10.0, rel=1e-3)
    assert times.predict_s("other") == 3.0


def test_trust_outside_its_range_is_refused() -> None:
    with pytest.raises(CapacityError, match="trust 0"):
        RetentionConfig(trust=0.0)
