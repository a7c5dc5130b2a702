"""Programs whose files and objects are laid out in ways that were read wrongly once."""

from pathlib import Path

import pytest

from tests.compiler.langgraph.reading import edges, import_text
from weft.compiler.frontends.graphs.graph import NodeKind
from weft.compiler.frontends.langgraph.load import import_langgraph
from weft.core.errors import ProgramError

CORE = "def answer(state):\n    return {}\n"
MAIN = """
from langgraph.graph import START, MessagesState, StateGraph
from app.core import answer
graph = StateGraph(MessagesState).add_node("step", answer).add_edge(START, "step").compile()
"""
STEP = {("START", "step", "direct")}


@pytest.mark.parametrize(("main", "core"), [("app/app/main.py", "app/app/core.py"), ("app/main.py", "app/app/core.py")])
@pytest.mark.parametrize("packages", [(), ("app/app/__init__.py",)])
def test_of_two_nested_folders_of_one_name_the_one_that_has_the_module_is_meant(
    tmp_path: Path, main: str, core: str, packages: tuple[str, ...]
) -> None:
    files = {main: MAIN, core: CORE, "app/other.py": "", **dict.fromkeys(packages, "")}
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    imported = import_langgraph(str(tmp_path / main))
    assert imported.stubbed == ()
    assert [edges(graph) for graph in imported.graphs] == [STEP]
    assert imported.graphs[0].node("step").function == "answer"


FACTORY = """
from typing import Literal
from langgraph.graph import END, START, MessagesState, StateGraph
from langgraph.graph.state import CompiledStateGraph

def again(state) -> Literal["main", "__end__"]:
    return END

def with_critic(main: CompiledStateGraph, critics: list[CompiledStateGraph], *, state=None):
    builder = StateGraph(state or main.builder.schema)
    builder.add_node("main", main)
    for critic in critics:
        builder.add_node(critic.name, critic)
        builder.add_edge("main", critic.name)
        builder.add_conditional_edges(critic.name, again)
    return builder.add_edge(START, "main")

def alone(builder: StateGraph, *, model):
    return builder.compile()
"""


def test_a_factory_that_takes_graphs_is_read_with_stand_ins(tmp_path: Path) -> None:
    imported = import_text(tmp_path, FACTORY, "with_critic(..., ...)")
    graph = imported.graph("with_critic")
    assert [(node.name, node.kind) for node in graph.nodes] == [
        ("main", NodeKind.SUBGRAPH),
        ("critics", NodeKind.SUBGRAPH),
    ]
    assert edges(graph) == {
        ("START", "main", "direct"),
        ("main", "critics", "direct"),
        ("critics", "main", "conditional"),
        ("critics", "END", "conditional"),
    }


def test_the_refusal_writes_the_call_that_makes_a_graph_with_its_keywords(tmp_path: Path) -> None:
    with pytest.raises(ProgramError) as refused:
        import_text(tmp_path, FACTORY)
    assert "with_critic(..., ...)'" in refused.value.way_out
    with pytest.raises(ProgramError) as refused:
        import_text(tmp_path, FACTORY.replace("with_critic", "_hidden").replace("StateGraph(state", "Other(state"))
    assert "alone(..., model=...)'" in refused.value.way_out


OBJECTS = """
import functools
from langchain_core.runnables import Runnable
from langgraph.graph import START, MessagesState, StateGraph

def logged(function):
    @functools.wraps(function)
    def inner(*args, **kwargs):
        return function(*args, **kwargs)
    return inner

class Provider:
    @classmethod
    def of(cls, kind):
        if kind == "hosted":
            from langchain_openai import ChatOpenAI
            return ChatOpenAI(model="gpt-4o")
        else:
            from langchain_ollama import ChatOllama
            return ChatOllama(model="llama3")

class Writer:
    def __init__(self, kind):
        self.kind = kind

    def write(self, state):
        return self._ask(state)

    @logged
    def _ask(self, state):
        return Provider.of(self.kind).invoke(state)

class Editor(Runnable):
    def __init__(self):
        self.llm = Provider.of("local")

    def invoke(self, input, config=None):
        return self.llm.invoke(input)

    def __call__(self, input):
        return self.invoke(input)

editor = Editor()

def write(state):
    writer = Writer(state["kind"])
    return writer.write(state)

def edit(state):
    return editor.invoke(state)

def idle(state):
    return {"kind": Writer}

class Team:
    def __init__(self, task):
        self.task = task

    def _build(self, nodes):
        builder = StateGraph(MessagesState)
        for name, node in nodes.items():
            builder.add_node(name, node)
        return builder.add_edge(START, "write")

    def graph(self):
        return self._build({"write": write, "edit": edit, "idle": idle})
"""


def test_models_behind_objects_that_a_node_makes(tmp_path: Path) -> None:
    with pytest.raises(ProgramError) as refused:
        import_text(tmp_path, OBJECTS)
    assert "Team(...).graph()'" in refused.value.way_out
    graph = import_text(tmp_path, OBJECTS, "Team(...).graph()").graphs[0]
    models = {node.name: [model.name for model in node.models] for node in graph.nodes}
    assert models == {"write": ["gpt-4o"], "edit": ["llama3"], "idle": []}
    assert any("instead of ChatOpenAI" in each for each in graph.node("write").opaque)
