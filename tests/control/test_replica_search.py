"""The cheapest counts against enumeration, for random tests of "enough" that more replicas never fail."""

from itertools import product

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from weft.control.replica_search import Counts, Market, Search, one_less

MOST = 7
WORKS = st.lists(st.tuples(*[st.integers(0, 5)] * 3), min_size=1, max_size=3)


def enumerated(enough: dict[Counts, bool], market: Market) -> float | None:
    costs = [market.cost(counts) for counts, holds in enough.items() if holds and market.fits(counts)]
    return min(costs, default=None)


@given(
    minima=st.lists(st.tuples(*[st.integers(1, MOST)] * 3), min_size=1, max_size=4),
    prices=st.tuples(*[st.integers(1, 9)] * 3),
    stock=st.tuples(*[st.integers(1, MOST)] * 3),
    start=st.tuples(*[st.integers(1, 3)] * 3),
)
def test_it_is_the_cheapest(minima: list[Counts], prices: Counts, stock: Counts, start: Counts) -> None:
    """Enough is whatever reaches one of the `minima` in every pool: any monotone test is of this form."""

    def enough(counts: Counts) -> bool:
        return any(all(have >= need for have, need in zip(counts, each, strict=True)) for each in minima)

    def fits(counts: Counts) -> bool:
        return all(count <= most for count, most in zip(counts, stock, strict=True))

    assume(fits(start))
    market = Market(prices, fits)
    table = {counts: enough(counts) for counts in product(range(1, MOST + 1), repeat=3)}
    search = Search(enough, market, most_asked=10_000)
    found, best = search.cheapest(start), enumerated(table, market)
    if best is None:
        assert found is None
        return
    assert found is not None
    assert market.cost(found) == best
    assert search.proven
    assert search.minimal(found)
    assert not any(enough(fewer) for fewer in one_less(found))
    assert Search(enough, market).cheapest(start, below_usd=best) is None


def test_a_bound_on_questions_is_told() -> None:
    asked: list[Counts] = []

    def enough(counts: Counts) -> bool:
        asked.append(counts)
        return min(counts) >= 20 or sum(counts) >= 41

    search = Search(enough, Market((1.0, 1.0), lambda _: True), most_asked=3)
    found = search.cheapest((1, 1))
    assert found is not None and enough(found)
    assert len(asked) == len(set(asked)) + 1
    assert not search.proven or sum(found) == 40


@pytest.mark.parametrize("start", [(1, 1), (3, 1)])
def test_what_does_not_fit_is_no_answer(start: Counts) -> None:
    search = Search(lambda counts: sum(counts) >= 9, Market((1.0, 2.0), lambda counts: sum(counts) <= 8))
    assert search.cheapest(start) is None
