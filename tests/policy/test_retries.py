"""Retries are a share of calls; a second replica is asked only when the first takes longer than most did."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from weft.core.errors import CapacityError
from weft.policy.hedging import HedgeConfig, Hedging
from weft.policy.retries import RetryBudget, RetryConfig


@settings(max_examples=50)
@given(st.lists(st.booleans(), max_size=200))
def test_retries_stay_within_their_share(asked: list[bool]) -> None:
    """True: a call that asks for a retry."""
    budget, granted = RetryBudget(RetryConfig(ratio=0.25, reserve=3)), 0
    for calls, wants in enumerate(asked, 1):
        budget.called()
        granted += wants and budget.may_retry()
        assert granted <= 3 + 0.25 * calls


def test_hedging_learns_its_delay_and_keeps_its_share() -> None:
    hedging = Hedging(HedgeConfig(quantile=0.9, share=0.1, learn=10, least_s=0.0))
    assert hedging.delay_s is None
    for number in range(2000):
        hedging.took(0.1 + 0.001 * (number * 37 % 100))  # spread evenly from 0.1 to 0.2 s
    assert hedging.delay_s == pytest.approx(0.19, rel=0.1)
    assert sum(hedging.may_ask() for _ in range(1000)) == pytest.approx(200, abs=2)


def test_impossible_terms_are_refused() -> None:
    with pytest.raises(CapacityError):
        RetryConfig(ratio=-1)
    with pytest.raises(CapacityError):
        HedgeConfig(quantile=1.0)
