"""Styles that public programs have and the examples have not: old calls, tools that are not installed, settings,
helpers that make Commands, wrappers around tools, graphs of channels."""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, TypedDict

import pytest
from langchain.agents import create_agent
from langchain.agents.middleware import AgentMiddleware
from langchain_core.language_models import FakeListChatModel
from langchain_core.runnables import RunnableLambda
from langchain_core.tools import tool
from langgraph.channels import EphemeralValue, LastValue
from langgraph.graph import START, StateGraph
from langgraph.pregel import NodeBuilder, Pregel
from langgraph.pregel.remote import RemoteGraph
from langgraph.types import Command, Send, interrupt

from tests.compiler.langgraph.reading import choice, edges, import_text, read_here
from weft.compiler.frontends.graphs.graph import Graph, Imported, Job, NodeKind, Provenance
from weft.compiler.frontends.langgraph.child import entries_of
from weft.compiler.frontends.langgraph.discover import make
from weft.core.errors import ProgramError

MEMBERS = ("b", "c")


class State(TypedDict, total=False):
    word: str
    messages: list[Any]


def _read(node: Callable[..., Any], **options: Any) -> Graph:
    builder: StateGraph[Any] = StateGraph(State)
    builder.add_node("a", node, **options)
    for name in MEMBERS:
        builder.add_node(name, lambda state: {})
    return read_here(builder.add_edge(START, "a")).graphs[0]


def _from_a(graph: Graph) -> set[tuple[str, str, Provenance]]:
    return {(each.target, str(each.kind), each.provenance) for each in graph.edges if each.source == "a"}


# --- Commands


def _more_than_declared(state) -> Command[Literal["b"]]:
    return Command(goto="c" if state["word"] else "b")


def _goes(state, where="c"):
    return Command(goto=where, update=state)


def _by_helper(state):
    return _goes(state, "b") if state["word"] else _goes(state)


def test_targets_beside_the_declared_ones_are_assumed() -> None:
    b, c = ("b", "command", Provenance.DECLARED), ("c", "command", Provenance.ASSUMED)
    assert _from_a(_read(_more_than_declared)) == {b, c}
    assert _from_a(_read(_more_than_declared, destinations=("b",))) == {b, c}


def test_a_helper_goes_where_its_callers_say() -> None:
    graph = _read(_by_helper)
    assert {target for target, *_ in _from_a(graph)} == {"b", "c"}
    opened = choice(graph, "a")
    assert opened is not None
    assert not opened.any_node


# --- routers


def _tested_as_it_is_named(state):
    if (target := state.get("word")) in MEMBERS:
        return target
    return "b"


def _inner(state):
    def pick():
        return "b" if state["word"] else "c"

    return pick()


@pytest.mark.parametrize(
    "router", [_tested_as_it_is_named, _inner, RunnableLambda(len) | (lambda size: MEMBERS[size % 2])]
)
def test_routers_that_name_two_nodes(router: Any) -> None:
    builder: StateGraph[Any] = StateGraph(State)
    for name in ("a", *MEMBERS):
        builder.add_node(name, lambda state: {})
    graph = read_here(builder.add_edge(START, "a").add_conditional_edges("a", router)).graphs[0]
    assert {target for target, *_ in _from_a(graph)} == {"b", "c"}


def test_an_answer_that_is_named_otherwise_than_its_node_is_an_edge_beside_the_send() -> None:
    def route(state):
        return "on" if state["word"] else [Send("b", state)]

    builder: StateGraph[Any] = StateGraph(State)
    for name in ("a", *MEMBERS):
        builder.add_node(name, lambda state: {})
    graph = read_here(builder.add_edge(START, "a").add_conditional_edges("a", route, {"on": "b"})).graphs[0]
    assert {(target, kind) for target, kind, _ in _from_a(graph)} == {("b", "conditional"), ("b", "send")}


# --- tools


@tool
def approve(question: str) -> str:
    """Asks a person."""
    return interrupt(question)


class Overseer(AgentMiddleware):
    def wrap_tool_call(self, request: Any, handler: Any) -> Any:
        return Command(goto="model")


class _Model(FakeListChatModel):
    def bind_tools(self, tools: Any, **kwargs: Any) -> Any:
        return self


MODEL = _Model(responses=["yes"])


def test_wrappers_of_tool_calls_run_where_the_tools_do() -> None:
    graph = read_here(create_agent(MODEL, [approve], middleware=[Overseer()])).graphs[0]
    assert choice(graph, "model") is None
    assert {target for source, target, kind in edges(graph) if (source, kind) == ("tools", "command")} == {"model"}


def _ask(state, model, tools):
    return {"messages": [model.bind_tools(tools=tools).invoke(state["messages"])]}


def _ask_and_call(state, model, tools):
    answer = model.bind_tools(tools).invoke(state["messages"])
    return {"messages": [{each.name: each for each in tools}[answer.name].invoke(answer.content)]}


def test_tools_that_are_bound_do_not_run_there() -> None:
    bound = _read(functools.partial(_ask, model=MODEL, tools=[approve])).node("a")
    assert (bound.tools, bound.interrupts, bound.models[0].tools) == ((), (), ("approve",))
    called = _read(functools.partial(_ask_and_call, model=MODEL, tools=[approve])).node("a")
    assert [each.name for each in called.tools] == ["approve"]
    assert called.interrupts == ("inside",)


# --- graphs without StateGraph


def test_edges_of_a_graph_of_channels_follow_the_channels() -> None:
    nodes = {
        "first": NodeBuilder().subscribe_only("in").do(lambda x: x).write_to("between"),
        "second": NodeBuilder().subscribe_to("between").do(lambda x: x).write_to("out"),
    }
    channels = {"in": EphemeralValue(str), "between": LastValue(str), "out": LastValue(str)}
    graph = read_here(Pregel(nodes=nodes, channels=channels, input_channels="in", output_channels="out")).graphs[0]
    assert edges(graph) == {("START", "first", "direct"), ("first", "second", "direct"), ("second", "END", "direct")}


def test_a_remote_graph_is_opaque() -> None:
    assert _read(RemoteGraph("far", url="http://localhost:9")).node("a").kind is NodeKind.OPAQUE  # type: ignore[arg-type]


# --- what LangGraph's server reads


def test_a_factory_gets_what_the_server_gives() -> None:
    def make_graph(config, *, runtime):
        return StateGraph(State).add_node("a", lambda state: config and runtime).add_edge(START, "a")

    assert "a" in make(make_graph, "test").nodes


def test_of_a_repository_the_graphs_in_python_are_read(tmp_path: Path) -> None:
    (tmp_path / "langgraph.json").write_text('{"graphs": {"one": "./one.py:graph", "two": "./two.ts:graph"}}')
    (tmp_path / "one.py").write_text("")
    assert [path.name for path, _ in entries_of(Job(str(tmp_path)))] == ["one.py"]
    with pytest.raises(ProgramError, match="JavaScript"):
        entries_of(Job(str(tmp_path), "two"))


# --- in the child process

OLD = """
import json
import os
from typing import Annotated, TypedDict

from absent_toolkit import Toolkit, charge
from langchain_openai import ChatOpenAI
from langgraph.channels.context import Context
from langgraph.graph import END, START, StateGraph
from langgraph.pregel.retry import RetryPolicy
from langgraph.prebuilt import chat_agent_executor, create_agent_executor, create_react_agent
from pydantic import BaseModel, Field


def add(a: int, b: int) -> int:
    "Adds."
    return a + b


class Settings(BaseModel):
    model: str
    budget: int = Field(alias="BUDGET")


class State(TypedDict):
    client: Annotated[object, Context(lambda: None)]
    word: str


settings = Settings(model=os.getenv("OUR_MODEL_NAME"))
model = ChatOpenAI(model=settings.model, api_key=charge(), max_retries=int(os.environ["TRIES"]))
listed = create_react_agent(model, [add] + Toolkit().tools)
alone = create_react_agent(model, Toolkit().tools)
renamed = chat_agent_executor.create_tool_calling_executor(model, [add])
loop = create_agent_executor(model, [add])
builder = StateGraph(State)
builder.add_node("a", lambda state: {}, retry=RetryPolicy(max_attempts=4))
for name in "bcd":
    builder.add_node(name, lambda state: {})
builder.set_entry_point("a")
builder.add_conditional_edges("a", lambda state: ["b", "c"], ["b", "c"], then="d")
builder.set_finish_point("d")
graph = builder.compile()
graph.get_graph().print_ascii()
answer = json.loads(graph.invoke({}))
after = StateGraph(State).add_node("e", lambda state: answer["x"]).add_edge(START, "e").compile()
while True:
    try:
        question = input()
    except Exception:
        print("again")
"""


@pytest.fixture(scope="module")
def old(tmp_path_factory: pytest.TempPathFactory) -> Imported:
    return import_text(tmp_path_factory.mktemp("old"), OLD)


def test_all_graphs_of_an_old_program_are_there(old: Imported) -> None:
    assert set(old.roots) == {"listed", "alone", "renamed", "loop", "graph", "after"}
    assert any("print_ascii" in each or "json" in each.lower() for each in old.notes)
    assert any("Settings without BUDGET" in each for each in old.notes)
    assert any("it asks for ever" in each for each in old.notes)


def test_tools_that_are_not_installed_keep_their_node(old: Imported) -> None:
    names = {root: [each.name for each in old.graph(root).node("tools").tools] for root in ("listed", "alone")}
    assert names == {"listed": ["add", "(tools of a toolkit)"], "alone": ["(tools of a toolkit)"]}


def test_old_calls_build_what_they_built(old: Imported) -> None:
    assert edges(old.graph("graph")) == {
        ("START", "a", "direct"),
        ("a", "b", "conditional"),
        ("a", "c", "conditional"),
        ("b", "d", "direct"),
        ("c", "d", "direct"),
        ("d", "END", "direct"),
    }
    assert old.graph("graph").node("a").retries[0].max_attempts == 4
    assert ("agent", "tools", "conditional") in edges(old.graph("loop"))


def test_what_a_missing_library_makes_is_named_with_the_library(tmp_path: Path) -> None:
    with pytest.raises(ProgramError, match="agent is made by absent_agents, which is not installed") as error:
        import_text(tmp_path, "from absent_agents import make_agent\nagent = make_agent(model='m')\n")
    assert "pip install absent-agents" in str(error.value)


def test_a_method_that_asks_for_nothing_makes_the_graph(tmp_path: Path) -> None:
    text = """
from langgraph.graph import START, MessagesState, StateGraph

class Team:
    def build(self):
        return StateGraph(MessagesState).add_node("a", lambda state: {}).add_edge(START, "a")
"""
    assert import_text(tmp_path, text).graphs[0].nodes[0].name == "a"
