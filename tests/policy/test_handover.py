"""Which prefixes go along when a node leaves: the closed form, and the best that time allows."""

from math import inf, log2

import pytest

from weft.core.errors import CapacityError
from weft.policy.handover import Cached, HandoverTerms, worth_moving


def one(number: int, age_s: float, after: tuple[int, ...] = (), own: int = 1) -> Cached:
    return Cached((*after, *range(number, number + own)), own, age_s)


def test_a_prefix_goes_while_its_chance_times_its_prefill_beats_the_line() -> None:
    """0.1 s to compute a block, 0.01 s to move it: worth it up to an age of half-life · log2(10)."""
    terms = HandoverTerms(s_per_block=0.1, bytes_per_block=10**6, bytes_per_s=1e8, half_life_s=300.0)
    limit_s = 300.0 * log2(0.1 / terms.s_to_move)
    cached = [one(number, age_s) for number, age_s in enumerate((0.0, limit_s - 1, limit_s + 1, inf))]
    assert [each.hashes for each in worth_moving(cached, terms)] == [(0,), (1,)]


def test_nothing_goes_where_the_line_is_slower_than_the_device_or_nothing_was_measured() -> None:
    assert not worth_moving([one(0, 0.0)], HandoverTerms(0.01, 10**6, 1e8))
    assert not worth_moving([one(0, 0.0)], HandoverTerms(0.0, 10**6, 1e8))


def test_a_start_goes_with_its_youngest_end_and_before_it() -> None:
    terms = HandoverTerms(1.0, 1, 1e3)
    start, old, young = one(1, 5000.0, own=2), one(10, 9000.0, (1, 2)), one(20, 1.0, (1, 2), own=3)
    assert list(worth_moving([young, old, start], terms)) == [start, young]


def test_the_youngest_go_as_far_as_the_time_does() -> None:
    terms = HandoverTerms(1.0, 1, 10.0, within_s=0.55)
    cached = [one(number, float(number), own=1) for number in range(10)]
    assert [each.hashes[0] for each in worth_moving(cached, terms)] == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("wrong", [{"s_per_block": -1.0}, {"bytes_per_block": 0}, {"bytes_per_s": 0.0}])
def test_impossible_terms_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(CapacityError, match="handing prefixes over"):
        HandoverTerms(**{"s_per_block": 1.0, "bytes_per_block": 1, "bytes_per_s": 1.0, **wrong})  # pyright: ignore
