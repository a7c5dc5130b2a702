"""Expected visits: closed forms, and an oracle that follows the probability mass state by state."""

from collections import Counter
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from weft.compiler.frequency import expected_visits
from weft.core.errors import IRError

Edges = Sequence[Sequence[tuple[int, float]]]
LOOP: Edges = [[(1, 1.0)], [(3, 0.25), (2, 0.75)], [(1, 1.0)], []]


def test_an_unbounded_loop_is_a_geometric_series() -> None:
    assert expected_visits(LOOP, [None] * 4) == pytest.approx([1, 4, 3, 1])


@pytest.mark.parametrize("bound", [1, 2, 5])
def test_a_bound_cuts_the_series_off(bound: int) -> None:
    header = sum(0.75**k for k in range(bound + 1))
    assert expected_visits(LOOP, [None, bound, None, None]) == pytest.approx([1, header, header - 1, 1])


def test_a_cycle_without_exit_is_refused() -> None:
    with pytest.raises(IRError, match="never left"):
        expected_visits([[(1, 1.0)], [(0, 1.0)]], [None, None])


def _follow(edges: Edges, bounds: Sequence[int | None]) -> list[float]:
    """Pushes the mass of every (node, counts) state one step at a time until none is left: slow and obvious."""
    visits = [0.0] * len(edges)
    mass = Counter({(0, (0,) * len(edges)): 1.0})
    while sum(mass.values()) > 1e-13:
        after: Counter[tuple[int, tuple[int, ...]]] = Counter()
        for (node, counts), amount in mass.items():
            visits[node] += amount
            bound = bounds[node]
            full = bound is not None and counts[node] >= bound
            for label, (target, probability) in enumerate(edges[node]):
                weight = float(label == 0) if full else probability
                taken = tuple(n + (label > 0 and i == node and bound is not None) for i, n in enumerate(counts))
                if weight:
                    after[target, taken] += amount * weight
        mass = after
    return visits


@st.composite
def graphs(draw: st.DrawFn) -> tuple[Edges, list[int | None]]:
    """Up to 6 nodes; label 0 goes forward, so that every node can reach the end."""
    size = draw(st.integers(2, 6))
    edges: list[list[tuple[int, float]]] = []
    for node in range(size - 1):
        forward = draw(st.integers(node + 1, size - 1))
        other, p = draw(st.integers(0, size - 1)), draw(st.sampled_from([0.0, 0.2, 0.5]))
        edges.append([(forward, 1 - p), (other, p)] if p else [(forward, 1.0)])
    return [*edges, []], [draw(st.sampled_from([None, 1, 2])) for _ in range(size)]


@given(graphs())
def test_the_linear_solve_equals_following_the_mass(case: tuple[Edges, list[int | None]]) -> None:
    edges, bounds = case
    assert expected_visits(edges, bounds) == pytest.approx(_follow(edges, bounds), abs=1e-9)
