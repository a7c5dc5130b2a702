"""A circuit opens after failures in a row, lets one call through after each pause, closes with the first success."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from weft.core.errors import CapacityError
from weft.policy.circuit import Circuit, CircuitConfig

TERMS = CircuitConfig(failures=2, pause_s=1.0, pause_limit_s=4.0)


def test_pauses_double_up_to_the_limit() -> None:
    circuit, now_s, pauses = Circuit(TERMS), 0.0, list[float]()
    circuit.failed(now_s)
    assert circuit.allows(now_s)
    for _ in range(5):
        circuit.failed(now_s)
        opened_s = now_s
        while not circuit.allows(now_s):
            now_s += 0.5
        pauses.append(now_s - opened_s)
    assert pauses == [1.0, 2.0, 4.0, 4.0, 4.0]
    assert circuit.opened == 1
    circuit.succeeded()
    assert circuit.allows(now_s)


@given(st.lists(st.tuples(st.floats(0, 3), st.booleans()), max_size=30))
def test_a_dead_place_is_asked_at_most_once_a_pause(calls: list[tuple[float, bool]]) -> None:
    circuit, now_s, asked = Circuit(TERMS), 0.0, list[float]()
    for wait_s, late in calls:
        now_s += wait_s
        if late:
            circuit.failed(now_s)  # of a call that began before
        elif circuit.allows(now_s):
            assert not circuit.blocks(now_s) or circuit.is_open
            circuit.failed(now_s)
            asked.append(now_s)
    assert all(later - earlier >= TERMS.pause_s for earlier, later in pairwise(asked[2:]))


def test_impossible_terms_are_refused() -> None:
    with pytest.raises(CapacityError, match="failures 0"):
        CircuitConfig(failures=0)
