"""How long a node may not answer: never less than a share of what the best of its pool takes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from weft.core.errors import CapacityError
from weft.policy.silence import USUAL, Patience, SilenceConfig

seconds = st.floats(0.0, 10.0)


@given(seconds, st.lists(seconds, max_size=10))
def test_patience_is_the_longest_of_its_three_reasons(best_s: float, answers: list[float]) -> None:
    patience, own_s = Patience(), 0.0
    for each in answers:
        patience.answered(each)
        own_s = max(each, USUAL.fades * own_s)
    assert patience.patience_s(best_s) == max(USUAL.least_s, USUAL.times * best_s, USUAL.margin * own_s)


def test_a_late_answer_makes_patient_for_a_while() -> None:
    patience = Patience()
    patience.answered(1.0)
    seen = list[float]()
    for _ in range(20):
        seen.append(patience.patience_s(0.0))
        patience.answered(0.001)
    assert seen[0] == 2.0
    assert seen == sorted(seen, reverse=True)
    assert seen[-1] == USUAL.least_s


def test_a_config_that_means_nothing_is_refused() -> None:
    with pytest.raises(CapacityError, match=r"times 0\.5"):
        SilenceConfig(times=0.5)
