"""The automaton of markings runs as LangGraph runs: superstep for superstep, against LangGraph itself."""

import operator
from collections.abc import Callable
from typing import Annotated, Any, TypedDict

import pytest
from langgraph.graph import END, START, StateGraph

from tests.compiler.langgraph.reading import read_here
from weft.compiler.control_flow import agent_graph, steps_of
from weft.compiler.frequency import block_visits
from weft.compiler.frontends.graphs.assumptions import Assumptions
from weft.compiler.frontends.graphs.graph import Imported
from weft.compiler.frontends.graphs.markings import Markings, Run, walk
from weft.compiler.frontends.graphs.to_module import to_module
from weft.compiler.parse import parse_module, print_module


class State(TypedDict, total=False):
    seen: Annotated[list[str], operator.add]


def _builder(names: str, *edges: tuple[Any, str], defer: str = "") -> StateGraph[Any]:
    builder: StateGraph[Any] = StateGraph(State)
    for name in names:
        builder.add_node(name, lambda state: {}, defer=name in defer)
    for source, target in edges:
        builder.add_edge(list(source) if isinstance(source, tuple) else source, target)
    return builder


GRAPHS = {
    "chain": lambda: _builder("ab", (START, "a"), ("a", "b"), ("b", END)),
    "diamond": lambda: _builder("abcd", (START, "a"), ("a", "b"), ("a", "c"), ("b", "d"), ("c", "d")),
    "join": lambda: _builder("abcd", (START, "a"), ("a", "b"), ("a", "c"), (("b", "c"), "d")),
    "uneven join": lambda: _builder("abcde", (START, "a"), (START, "b"), ("b", "c"), (("a", "c"), "d"), ("d", "e")),
    "uneven without join": lambda: _builder("abcd", (START, "a"), (START, "b"), ("b", "c"), ("a", "d"), ("c", "d")),
    "deferred": lambda: _builder("abcd", (START, "a"), (START, "b"), ("b", "c"), ("a", "d"), ("c", "d"), defer="d"),
    "two ends": lambda: _builder("abc", (START, "a"), (START, "b"), ("a", END), ("b", "c")),
}


@pytest.mark.parametrize("name", GRAPHS)
def test_supersteps_are_those_of_langgraph(name: str) -> None:
    builder = GRAPHS[name]()
    imported = read_here(builder)
    markings = Markings(imported, "graph")
    ours = [position.stack[-1].frontier for position, _ in walk(markings) if isinstance(position, Run)]
    steps: dict[int, set[str]] = {}
    for event in builder.compile().stream({"seen": []}, stream_mode="debug"):
        if event["type"] == "task":
            steps.setdefault(event["step"], set()).add(event["payload"]["name"])
    theirs = [tuple(sorted(names)) for _, names in sorted(steps.items())]
    assert ours == theirs


def _visits(imported: Imported, **assumptions: Any) -> dict[str, float]:
    module = to_module(imported, Assumptions(**assumptions))
    module = parse_module(print_module(module), "printed")
    visits = block_visits(agent_graph(module))
    return {step.step_name: visits[block] for block in visits for step in steps_of(block)}


def _loop(router: Callable[..., Any]) -> Imported:
    builder = _builder("ab", (START, "a"), ("b", "a"))
    builder.add_conditional_edges("a", router, ["b", END])
    return read_here(builder)


def test_a_loop_with_equal_chances_runs_twice() -> None:
    assert _visits(_loop(lambda state: END)) == {"a": 2.0, "a.condition": 2.0, "b": 1.0}


def test_an_open_choice_may_go_anywhere_with_equal_chances() -> None:
    builder = _builder("abc", (START, "a"), ("b", END), ("c", END))
    builder.add_conditional_edges("a", lambda state: state["seen"][0])
    visits = _visits(read_here(builder))
    assert visits["b"] == pytest.approx(visits["c"])
    assert visits["a"] == pytest.approx(4 / 3), "itself, b, c and the end are equally likely"


def test_inner_graphs_are_entered_and_left() -> None:
    inner = _builder("xy", (START, "x"), ("x", "y")).compile()
    builder = _builder("ab", (START, "a"))
    builder.add_node("team", inner)
    builder.add_edge("a", "team")
    builder.add_edge("team", "b")
    assert _visits(read_here(builder)) == {"a": 1.0, "team/x": 1.0, "team/y": 1.0, "b": 1.0}


def test_a_node_in_two_supersteps_has_two_steps_with_names_of_their_own() -> None:
    visits = _visits(read_here(GRAPHS["uneven without join"]()))
    assert {"d", "d@again"} < visits.keys() or {"d", "d@c"} < visits.keys()
    assert visits["a"] == visits["c"] == 1.0
