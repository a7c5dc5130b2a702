"""Programs as people lay them out: packages without __init__.py, classes, factories, graphs made inside nodes."""

import json
from pathlib import Path

import pytest

from tests.compiler.langgraph.reading import edges, import_text
from weft.compiler.dialects.tool import ToolOp
from weft.compiler.effects import Effect, own_effect
from weft.compiler.frontends.graphs.assumptions import Assumptions
from weft.compiler.frontends.graphs.graph import NodeKind
from weft.compiler.frontends.graphs.to_module import to_module
from weft.compiler.frontends.langgraph.load import import_langgraph
from weft.core.errors import ProgramError

BUILD = """
    builder = StateGraph(MessagesState)
    builder.add_node("step", step)
    builder.add_edge(START, "step")
"""
HEAD = """
from langgraph.graph import START, MessagesState, StateGraph

def step(state):
    return {}
"""
STEP = {("START", "step", "direct")}


def test_modules_several_folders_deep_with_relative_imports_and_no_init(tmp_path: Path) -> None:
    files = {
        "langgraph.json": json.dumps(
            {"graphs": {"main": "./src/app/agents/graph.py:make", "chat": {"path": "app.agents.chat:graph"}}}
        ),
        "src/app/core/llm.py": "def answer(state):\n    return {}\n",
        "src/app/agents/nodes/work.py": "from ...core.llm import answer\nfrom ..state import State\n",
        "src/app/agents/state.py": "from langgraph.graph import MessagesState as State\n",
        "src/app/agents/graph.py": """
from __future__ import annotations
from contextlib import asynccontextmanager
from langchain_core.runnables import RunnableConfig
from langgraph.graph import START, StateGraph
from .nodes.work import State, answer

@asynccontextmanager
async def make(config: RunnableConfig):
    yield StateGraph(State).add_node("step", answer).add_edge(START, "step").compile()
""",
        "src/app/agents/chat.py": """
from langgraph.graph import START, StateGraph
from app.agents.state import State
from app.core.llm import answer
graph = StateGraph(State).add_node("step", answer).add_edge(START, "step").compile()
""",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    imported = import_langgraph(str(tmp_path))
    assert imported.roots == ("make", "graph")
    assert [edges(graph) for graph in imported.graphs] == [STEP, STEP]


PAGE = (
    HEAD
    + """
import streamlit as st
from langchain.agents import create_agent
from langchain_core.tools import tool

left, right = st.columns(2)
inner = StateGraph(MessagesState).add_node("inside", step).add_edge(START, "inside").compile()

def build():"""
    + BUILD
    + """
    builder.add_node("inner", inner)
    return builder.compile()

@tool
def add(a: int, b: int) -> int:
    "Add."
    return a + b

def solve(state):
    return create_agent("openai:gpt-4o", [add]).invoke(state)

class Writer:
    def __init__(self, llm):
        self.llm = llm

    def team(self, width=2):
        builder = StateGraph(input=MessagesState, output=MessagesState)
        builder.add_node("write", lambda state: self.llm.invoke(state))
        return builder.add_edge(START, "write")

    def run(self, state):
        return self.team().compile().invoke(state)

def whole(writer: Writer):"""
    + BUILD
    + """
    builder.add_node("writer", writer.run)
    builder.add_node("solve", solve)
    builder.add_edge("step", "writer")
    return builder.compile()
"""
)


def test_a_factory_that_the_program_does_not_call_is_read_beside_its_variables(tmp_path: Path) -> None:
    imported = import_text(tmp_path, PAGE)
    assert imported.roots == ("build",)
    assert {graph.name for graph in imported.graphs} == {"build", "inner"}


def test_a_call_makes_the_graph_and_a_node_s_own_graph_is_made_too(tmp_path: Path) -> None:
    imported = import_text(tmp_path, PAGE, "whole(Writer(...))")
    (inner,) = imported.graph("whole").node("writer").subgraphs
    assert [model.provider for model in imported.graph(inner).node("write").models] == ["ChatModel"]
    assert edges(imported.graph("whole")) == {*STEP, ("step", "writer", "direct")}
    (agent,) = imported.graph("whole").node("solve").subgraphs
    assert imported.graph(agent).node("model").models[0].tools == ("add",)
    assert not any(node.opaque for node in imported.graph("whole").nodes)


@pytest.mark.parametrize(
    ("text", "variable", "problem", "way_out"),
    [
        (HEAD + "def make(llm):" + BUILD + "    return builder", "", "needs arguments: llm", "program.py:make(...)'"),
        (
            HEAD + "class Team:\n  def build(self, x):\n    return StateGraph(x)",
            "",
            "holds no graph",
            "Team().build(...)",
        ),
        (HEAD, "step(", "does not parse", "make_graph(...)"),
        (HEAD, "step({'a': 1})", "makes no graph", "a call that gives a graph"),
        (HEAD, "no_such(...)", "fails: NameError", "mend"),
    ],
)
def test_refusals_say_what_to_write(tmp_path: Path, text: str, variable: str, problem: str, way_out: str) -> None:
    with pytest.raises(ProgramError) as refused:
        import_text(tmp_path, text, variable)
    assert problem in refused.value.problem
    assert way_out in refused.value.way_out


def test_a_conditional_entry_point_is_traced(tmp_path: Path) -> None:
    text = HEAD + "def make():" + BUILD.replace('add_edge(START, "step")', "add_conditional_edges(START, route)")
    text += "    return builder.compile()\ndef route(state):\n    return 'step'\ngraph = make()\n"
    (graph,) = import_text(tmp_path, text, trace="graph.invoke({'messages': []})").graphs
    assert graph.node("step").seen is not None
    assert [edge.probability for edge in graph.edges] == [1.0]


WRAPPED = (
    HEAD
    + """
from langgraph.graph.state import CompiledStateGraph
from not_installed import look_up

def wrap(worker: CompiledStateGraph, again=2):
    builder = StateGraph(MessagesState).add_node("worker", worker).add_node("look_up", look_up)
    return builder.add_edge(START, "worker").add_edge("worker", "look_up").compile()
"""
)


def test_a_graph_stands_in_where_a_factory_asks_for_one(tmp_path: Path) -> None:
    graph = import_text(tmp_path, WRAPPED, "wrap(...)").graph("wrap")
    assert graph.node("worker").kind == NodeKind.SUBGRAPH
    assert edges(graph) == {("START", "worker", "direct"), ("worker", "look_up", "direct")}


def test_code_that_is_not_there_may_have_any_effect(tmp_path: Path) -> None:
    module = to_module(import_text(tmp_path, WRAPPED, "wrap(...)"), Assumptions())
    (hidden,) = (op for op in module.walk() if isinstance(op, ToolOp) and op.step_name == "look_up")
    assert own_effect(hidden) is Effect.WRITES
