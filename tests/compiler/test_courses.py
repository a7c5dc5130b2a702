"""The ways that a run may take: closed forms, and their means against block frequencies."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.cli.conftest import VOICE
from tests.compiler.test_frequency import LOOP, Edges
from weft.compiler.control_flow import agent_graph, block_name
from weft.compiler.courses import walks
from weft.compiler.frequency import block_visits, expected_visits
from weft.compiler.pipeline import unplaced
from weft.compiler.plan_request import courses, flows
from weft.compiler.request import CompileRequest


def test_a_bounded_loop_has_a_course_for_each_number_of_rounds() -> None:
    found = walks(LOOP, [None, 2, None, None])
    assert [walk.probability for walk in found] == pytest.approx([0.5625, 0.25, 0.1875])
    assert [walk.taken.get((1, 1), 0) for walk in found] == [2, 0, 1]


def test_an_unbounded_loop_is_followed_as_long_as_it_matters() -> None:
    found = walks(LOOP, [None] * 4)
    assert sum(walk.probability for walk in found) == pytest.approx(1.0, abs=1e-5)
    assert sum(walk.probability for walk in found) <= 1.0
    for walk in found:
        assert walk.probability == pytest.approx(0.25 * 0.75 ** walk.taken.get((1, 1), 0))


@st.composite
def chains(draw: st.DrawFn) -> tuple[Edges, list[int | None]]:
    """Forward jumps, and jumps back that are bounded."""
    count = draw(st.integers(2, 5))
    edges: list[list[tuple[int, float]]] = []
    bounds: list[int | None] = []
    for node in range(count - 1):
        back = draw(st.booleans())
        onward = (draw(st.integers(node + 1, count - 1)), 0.4)
        other = draw(st.integers(0, node)) if back else draw(st.integers(node + 1, count - 1))
        edges.append([onward, (other, 0.6)])
        bounds.append(draw(st.integers(1, 2)) if back else None)
    return [*edges, []], [*bounds, None]


@given(chains())
def test_mean_visits_are_block_frequencies(chain: tuple[Edges, list[int | None]]) -> None:
    edges, bounds = chain
    found = walks(edges, bounds)
    if sum(walk.probability for walk in found) < 1 - 1e-9:
        return  # more ways than are kept
    means = [1.0, *[0.0] * (len(edges) - 1)]
    for walk in found:
        for (origin, label), times in walk.taken.items():
            means[edges[origin][label][0]] += walk.probability * times
    assert means == pytest.approx(expected_visits(edges, bounds))


def test_courses_of_the_voice_agent() -> None:
    graph = agent_graph(unplaced(CompileRequest(VOICE)))
    found = courses(graph)
    assert [course.probability for course in found] == pytest.approx([0.5, 0.25, 0.125, 0.125])
    visits = block_visits(graph)
    for block, expected in visits.items():
        name = block_name(block)
        assert sum(course.probability * course.visits[name] for course in found) == pytest.approx(expected)
    for flow in flows(graph, visits):
        mean = sum(course.probability * course.moves[flow.source, flow.target] for course in found)
        assert mean == pytest.approx(flow.visits)
