"""Who is left, and that nobody is left for what is everybody's trouble."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from weft.core.errors import CapacityError
from weft.policy.slowness import Look, Slowness, SlownessConfig

CONFIG = SlownessConfig(looks=3, rest=5)
GOOD, SLOW = Look(20, 20.0), Look(1, 20.0)


def test_one_that_stays_far_behind_is_left_once() -> None:
    slowness = Slowness(CONFIG)
    told = [slowness.look({"a": GOOD, "b": SLOW}) for _ in range(11)]
    assert [at for at, who in enumerate(told) if who == "b"] == [2, 8]  # rest is over, and it has been slow all along


def test_a_good_look_begins_the_count_anew() -> None:
    slowness = Slowness(CONFIG)
    looks = [SLOW, SLOW, GOOD, SLOW, SLOW, GOOD]
    assert not any(slowness.look({"a": GOOD, "b": look}) for look in looks)


@pytest.mark.parametrize(
    "seen",
    [
        {"a": SLOW, "b": SLOW},  # the machine lags
        {"a": Look(1, 1000.0), "b": Look(4, 1000.0)},  # no planned device: all far from the promise
        {"b": SLOW},  # nobody to compare with
        {"a": Look(2, 2.0), "b": Look(0, 2.0)},  # too little to tell
        {},
    ],
)
def test_nobody_is_left(seen: dict[str, Look]) -> None:
    slowness = Slowness(CONFIG)
    assert not any(slowness.look(seen) for _ in range(20))


looks = st.dictionaries(st.sampled_from("abc"), st.builds(Look, st.integers(0, 50), st.floats(0.1, 50.0)))


@given(st.lists(looks, max_size=30))
def test_the_best_is_never_left_and_rest_is_kept(series: list[dict[str, Look]]) -> None:
    slowness, left_at = Slowness(CONFIG), list[int]()
    for at, seen in enumerate(series):
        who = slowness.look(seen)
        if who is not None:
            left_at.append(at)
            assert seen[who].pace < max(look.pace for look in seen.values())
    assert all(later - sooner > CONFIG.rest for sooner, later in itertools.pairwise(left_at))


def test_a_config_that_means_nothing_is_refused() -> None:
    with pytest.raises(CapacityError, match="share 1"):
        SlownessConfig(share=1.0)
