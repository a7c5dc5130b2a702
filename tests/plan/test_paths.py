"""Ways of a run: probabilities add up to 1, probabilities times times to the mean; loops are one stage."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.effort import cases
from tests.plan.test_solve import SLOW
from weft.compiler.frequency import expected_visits
from weft.core.program import Block, Program, Target, Terminator
from weft.plan.paths import MOST, path_times


def program(edges: dict[str, dict[str, float]]) -> Program:
    blocks = tuple(
        Block(name, (), (), Terminator(tuple(Target(to, (), chance) for to, chance in targets.items())))
        for name, targets in edges.items()
    )
    return Program("p", blocks)


def visits_of(edges: dict[str, dict[str, float]]) -> dict[str, float]:
    index = {name: at for at, name in enumerate(edges)}
    rows = [[(index[to], chance) for to, chance in targets.items()] for targets in edges.values()]
    return dict(zip(edges, expected_visits(rows, [None] * len(rows)), strict=True))


def test_a_choice_gives_two_ways() -> None:
    edges = {"ask": {"easy": 0.7, "hard": 0.3}, "easy": {"say": 1.0}, "hard": {"say": 1.0}, "say": {}}
    ways = path_times(program(edges), visits_of(edges), {"ask": 1.0, "easy": 2.0, "hard": 10.0, "say": 0.5})
    assert [way.probability for way in ways] == pytest.approx([0.7, 0.3])
    assert [way.time_s for way in ways] == pytest.approx([3.5, 11.5])
    assert [stage.blocks for stage in ways[1].stages] == [("ask",), ("hard",), ("say",)]


def test_a_loop_is_one_stage_with_its_visits() -> None:
    """The paper's agent: think, and with a half search and think again."""
    edges = {"hear": {"think": 1.0}, "think": {"speak": 0.5, "search": 0.5}, "search": {"think": 1.0}, "speak": {}}
    (way,) = path_times(program(edges), visits_of(edges), {"hear": 0.1, "think": 1.0, "search": 0.2, "speak": 0.3})
    assert way.probability == pytest.approx(1.0)
    assert way.time_s == pytest.approx(0.1 + 2 * 1.0 + 1 * 0.2 + 0.3)
    _, loop, _ = way.stages
    assert loop.loop and loop.blocks == ("think", "search")
    assert loop.visits == pytest.approx((2.0, 1.0))


def test_ways_without_end_are_summed_up() -> None:
    """2^10 ways: the likeliest are listed, the others are one row."""
    edges: dict[str, dict[str, float]] = {}
    for at in range(10):
        edges |= {
            f"s{at}": {f"l{at}": 0.6, f"r{at}": 0.4},
            f"l{at}": {f"s{at + 1}": 1.0},
            f"r{at}": {f"s{at + 1}": 1.0},
        }
    edges["s10"] = {}
    seconds = {name: 1.0 + (name[0] == "r") for name in edges}
    ways = path_times(program(edges), visits_of(edges), seconds)
    assert len(ways) == MOST + 1 and not ways[-1].stages
    assert ways[0].probability == pytest.approx(0.6**10)
    assert sum(way.probability * way.time_s for way in ways) == pytest.approx(21 + 10 * 0.4)


@st.composite
def agents(draw: st.DrawFn) -> dict[str, dict[str, float]]:
    """Any jumps, back and forth; each block may end the run or go on to the next."""
    names = [f"b{at}" for at in range(draw(st.integers(1, 7)))]
    edges: dict[str, dict[str, float]] = {}
    for at, name in enumerate(names):
        onward = names[at + 1] if at + 1 < len(names) else None
        targets = draw(st.lists(st.sampled_from(names), max_size=3, unique=True)) if onward else []
        weights = {to: float(draw(st.integers(1, 5))) for to in targets}
        if onward and (targets or draw(st.booleans())):
            weights[onward] = weights.get(onward, 0.0) + 2.0
        total = sum(weights.values())
        edges[name] = {to: weight / total for to, weight in weights.items()}
    return edges


@settings(SLOW, max_examples=cases(120))
@given(agents(), st.lists(st.integers(0, 20), min_size=7, max_size=7))
def test_ways_add_up_to_the_mean(edges: dict[str, dict[str, float]], times: list[int]) -> None:
    seconds = dict(zip(edges, map(float, times), strict=False))
    visits = visits_of(edges)
    ways = path_times(program(edges), visits, seconds)
    assert sum(way.probability for way in ways) == pytest.approx(1.0)
    mean_s = sum(times * seconds[name] for name, times in visits.items())
    assert sum(way.probability * way.time_s for way in ways) == pytest.approx(mean_s)
    for way in ways:
        assert way.time_s == pytest.approx(sum(stage.time_s for stage in way.stages)) or not way.stages
