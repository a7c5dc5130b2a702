"""Conditional edges and commands: declared targets are edges, the source narrows the others, the rest stays open."""

import operator
from collections.abc import Callable
from enum import Enum
from typing import Annotated, Any, Literal, TypedDict

import pytest
from langgraph.graph import END, START, StateGraph
from langgraph.types import Command, Send

from tests.compiler.langgraph.reading import choice, edges, read_here
from weft.compiler.frontends.graphs.graph import Provenance

ROUTES = {"yes": "b", "no": "c"}
LAST = "c"


class Next(Enum):
    B = "b"
    C = "c"


class State(TypedDict, total=False):
    items: Annotated[list[str], operator.add]
    word: str
    next: Literal["b", "c"]


def _graph(router: Callable[..., Any], path_map: Any = None) -> StateGraph[Any]:
    builder: StateGraph[Any] = StateGraph(State)
    for name in ("a", "b", "c"):
        builder.add_node(name, lambda state: {})
    builder.add_edge(START, "a")
    builder.add_conditional_edges("a", router, path_map)
    return builder


def _strings(state):
    return "b" if state["word"] else END


def _local_name(state):
    target = "b"
    if state["word"]:
        target = LAST
    return target


def _dictionary(state):
    return ROUTES[state["word"]]


def _dictionary_get(state):
    return ROUTES.get(state["word"], END)


def _helper(state):
    return _strings(state)


def _argument(state):
    return _same("b")


def _same(target):
    return target


def _list(state):
    return ["b", "c"]


def _appended(state):
    targets = []
    for _ in state["items"]:
        targets.append("b")  # noqa: PERF401  (a router as people write it)
    return targets or ["c"]


def _all_but(state):
    return [each for each in ("b", "c") if each != "b"]


def _format(state):
    return f"b{state['word']}"


def _enum(state):
    return Next.B.value if state["word"] else Next.C.value


def _matched(state):
    match state["word"]:
        case "x":
            return "b"
        case _:
            return "c"


def _field(state: State):
    return state["next"]


def _sends(state):
    return [Send("b", {"item": item}) for item in state["items"]]


def _send_or_end(state):
    if not state["items"]:
        return END
    sends = []
    for item in state["items"]:
        sends.append(Send("b", {"item": item}))  # noqa: PERF401
    return sends


@pytest.mark.parametrize(
    ("router", "expected"),
    [
        (_strings, {("b", "conditional"), ("END", "conditional")}),
        (_local_name, {("b", "conditional"), ("c", "conditional")}),
        (_dictionary, {("b", "conditional"), ("c", "conditional")}),
        (_dictionary_get, {("b", "conditional"), ("c", "conditional"), ("END", "conditional")}),
        (_helper, {("b", "conditional"), ("END", "conditional")}),
        (_argument, {("b", "conditional")}),
        (_list, {("b", "conditional"), ("c", "conditional")}),
        (_appended, {("b", "conditional"), ("c", "conditional")}),
        (_all_but, {("c", "conditional")}),
        (_format, {("b", "conditional")}),
        (_enum, {("b", "conditional"), ("c", "conditional")}),
        (_matched, {("b", "conditional"), ("c", "conditional")}),
        (_field, {("b", "conditional"), ("c", "conditional")}),
        (_sends, {("b", "send")}),
        (_send_or_end, {("b", "send"), ("END", "conditional")}),
        (lambda state: "b" if state else "c", {("b", "conditional"), ("c", "conditional")}),
    ],
)
def test_an_untyped_router_is_narrowed_by_its_source(
    router: Callable[..., Any], expected: set[tuple[str, str]]
) -> None:
    graph = read_here(_graph(router)).graphs[0]
    assert {(target, kind) for source, target, kind in edges(graph) if source == "a"} == expected
    opened = choice(graph, "a")
    assert opened is not None, "an untyped router is an open choice, narrowed or not"
    assert not opened.any_node
    assert all(edge.provenance is Provenance.ASSUMED for edge in graph.edges if edge.source == "a")


def _unknown(state):
    return state["word"]


def _half_known(state):
    return "b" if state["items"] else state["word"]


@pytest.mark.parametrize(("router", "known"), [(_unknown, set()), (_half_known, {"b"})])
def test_what_only_a_run_tells_stays_open_and_makes_no_edge(router: Callable[..., Any], known: set[str]) -> None:
    graph = read_here(_graph(router)).graphs[0]
    opened = choice(graph, "a")
    assert opened is not None
    assert opened.any_node
    assert "state['word']" in opened.reason
    assert {target for source, target, _ in edges(graph) if source == "a"} == known


def _typed(state) -> Literal["b", "__end__"]:
    return state["word"]


def _typed_list(state) -> list[Literal["b", "c"]]:
    return state["word"]


@pytest.mark.parametrize(
    ("router", "path_map", "targets"),
    [
        (_unknown, {"x": "b", "y": "c", "z": END}, {"b", "c", "END"}),
        (_unknown, ["b"], {"b"}),
        (_typed, None, {"b", "END"}),
        (_typed_list, None, {"b", "c"}),
        (_strings, {"b": "c", END: END}, {"c", "END"}),
    ],
)
def test_declared_targets_are_all_there_and_nothing_else(
    router: Callable[..., Any], path_map: Any, targets: set[str]
) -> None:
    graph = read_here(_graph(router, path_map)).graphs[0]
    assert {target for source, target, _ in edges(graph) if source == "a"} == targets
    assert choice(graph, "a") is None
    assert all(edge.provenance is Provenance.DECLARED for edge in graph.edges)


def test_labels_of_a_path_map_and_two_branches_of_one_node_are_kept() -> None:
    builder = _graph(_unknown, {"go": "b", "on": "b", "stop": END})
    builder.add_conditional_edges("a", _typed)
    graph = read_here(builder).graphs[0]
    labels = {(edge.router, edge.target): edge.label for edge in graph.edges if edge.source == "a"}
    assert labels == {
        ("_unknown", "b"): "go | on",
        ("_unknown", END): "stop",
        ("_typed", "b"): "",
        ("_typed", END): "",
    }


def _goto_declared(state) -> Command[Literal["b", "__end__"]]:
    return Command(goto=state["word"])


def _goto_union(state) -> Command[Literal["c"]] | dict:
    return Command(goto="c")


def _goto_source(state):
    return Command(goto="b" if state["word"] else ["c", END])


def _goto_sends(state) -> Command[Literal["b", "c"]]:
    return Command(goto=[Send("b", {}) for _ in state["items"]] if state["items"] else "c")


def _goto_unknown(state):
    return Command(goto=state["word"])


def _sends_or_names(state):
    return [Send(f"{name}", state) for name in ("b", "c") if state["word"]] or "b"


def test_a_router_that_names_a_node_here_and_sends_to_it_there_has_both_edges() -> None:
    (graph,) = read_here(_graph(_sends_or_names)).graphs
    assert {edge for edge in edges(graph) if edge[0] == "a"} == {
        ("a", "b", "conditional"),
        ("a", "b", "send"),
        ("a", "c", "send"),
    }
    assert {edge.target for edge in graph.edges if edge.fan_out} == {"b", "c"}


def _tested_by_get(state):
    return state["word"] if state.get("word") in ("b", "c") else END


def test_a_field_is_the_same_by_get_and_by_subscript() -> None:
    (graph,) = read_here(_graph(_tested_by_get)).graphs
    found = choice(graph, "a")
    assert found is not None
    assert not found.any_node
    assert found.narrowed == ("__end__", "b", "c")


@pytest.mark.parametrize(
    ("node", "expected", "any_node"),
    [
        (_goto_declared, {("b", "command"), ("END", "command")}, None),
        (_goto_union, {("c", "command")}, None),
        (_goto_source, {("b", "command"), ("c", "command"), ("END", "command")}, False),
        (_goto_sends, {("b", "send"), ("c", "command")}, None),
        (_goto_unknown, set(), True),
    ],
)
def test_commands(node: Callable[..., Any], expected: set[tuple[str, str]], any_node: bool | None) -> None:
    builder: StateGraph[Any] = StateGraph(State)
    builder.add_node("a", node)
    builder.add_node("b", lambda state: {})
    builder.add_node("c", lambda state: {})
    builder.add_edge(START, "a")
    graph = read_here(builder).graphs[0]
    assert {(target, kind) for source, target, kind in edges(graph) if source == "a"} == expected
    opened = choice(graph, "a")
    assert (opened.any_node if opened else None) == any_node
