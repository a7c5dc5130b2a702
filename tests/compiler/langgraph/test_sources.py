"""What routers compute on the way to a node's name: tests, strings, loops, partials, enums, nested fields."""

import functools
import random
from collections.abc import Callable
from enum import StrEnum
from typing import Any, Literal, TypedDict

import pytest
from langgraph.graph import START, StateGraph
from langgraph.types import Send
from pydantic import BaseModel

from tests.compiler.langgraph.reading import choice, edges, read_here

MEMBERS = ("b", "c")
LAST = "c"
TABLE = {"b": 1, "c": 2}
Target = Literal["b", "c"]


class Place(StrEnum):
    B = "b"
    C = "c"


class Plan(BaseModel):
    where: Target
    why: str = ""


class State(TypedDict, total=False):
    items: list[str]
    word: str
    plan: Plan


def _graph(router: Callable[..., Any]) -> StateGraph[Any]:
    builder: StateGraph[Any] = StateGraph(State)
    for name in ("a", "b", "c"):
        builder.add_node(name, lambda state: {})
    builder.add_edge(START, "a")
    builder.add_conditional_edges("a", router)
    return builder


def _mended(state):
    target = state["word"].strip()
    if target not in MEMBERS:
        target = "b"
    return target


def _left_early(state):
    if state["word"] not in TABLE:
        raise ValueError(state["word"])
    return state["word"]


def _tested(state):
    if state["word"] == "b" or state["word"] == LAST:
        return state["word"]
    return "b"


def _first_match(state):
    return next((each for each in MEMBERS if each in state["word"]), "b")


def _by_chance(state):
    return random.choice(["b", "c"])


def _lower(state):
    return "B".lower() if state["word"] else "c"


def _split(state):
    return [each.strip() for each in "b, c".split(",")]  # noqa: SIM905


def _enum_of(state):
    return Place(state["word"]).value


def _nested(state: State):
    return state["plan"].where


def _table_of(state):
    table = {each: each for each in MEMBERS}
    return table[state["word"]]


def _noted(state):
    target: Target = state["word"]
    return target


def _default(state, first="b"):
    return first or "c"


def _given(other, state):
    return other if state["word"] else "c"


def _pairs(state):
    return [Send(name, {"item": item}) for name, item in zip(MEMBERS, state["items"], strict=False)]


def _keys(state):
    return [Send(name, {"weight": weight}) for name, weight in TABLE.items()]


def _mapped(state):
    return [*map(lambda item: Send("b", item), state["items"]), Send("c", {})]  # noqa: C417


@pytest.mark.parametrize(
    "router",
    [
        _mended,
        _left_early,
        _tested,
        _first_match,
        _by_chance,
        _lower,
        _split,
        _enum_of,
        _nested,
        _table_of,
        _noted,
        _default,
        functools.partial(_given, "b"),
        _pairs,
        _keys,
        _mapped,
    ],
)
def test_the_source_leaves_two_nodes(router: Callable[..., Any]) -> None:
    graph = read_here(_graph(router)).graphs[0]
    assert {target for source, target, _ in edges(graph) if source == "a"} == {"b", "c"}
    opened = choice(graph, "a")
    assert opened is not None
    assert not opened.any_node


def _less(state):
    return list({"b", "c"} - {"c"})


def _concatenated(state):
    return "b" + state["word"]


def _template(state):
    return "{}b".format(state["word"])


@pytest.mark.parametrize("router", [_less, _concatenated, _template, functools.partial(_given, "c")])
def test_no_edge_that_the_source_rules_out(router: Callable[..., Any]) -> None:
    graph = read_here(_graph(router)).graphs[0]
    assert len({target for source, target, _ in edges(graph) if source == "a"}) == 1


def _rebound(state):
    target = state["word"]
    if target not in MEMBERS:
        target = "b"
    target = state["items"][0]
    return target  # noqa: RET504


def _other_side(state):
    if state["word"] in MEMBERS:
        return "b"
    return state["word"]


def _unsure(state):
    if state["word"] in MEMBERS or state["items"]:
        return state["word"]
    return "b"


@pytest.mark.parametrize("router", [_rebound, _other_side, _unsure])
def test_a_test_that_does_not_hold_where_the_name_is_used_narrows_nothing(router: Callable[..., Any]) -> None:
    opened = choice(read_here(_graph(router)).graphs[0], "a")
    assert opened is not None
    assert opened.any_node
