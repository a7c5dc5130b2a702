"""Programs run without keys, network or people; what is missing is stood in for and told; failures are one error."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tests.compiler.langgraph.reading import edges, import_text
from weft.cli import app_for
from weft.compiler.frontends.graphs.assumptions import Assumptions
from weft.compiler.frontends.graphs.graph import Provenance
from weft.compiler.frontends.graphs.to_module import to_module
from weft.compiler.frontends.langgraph.load import ImportLimits, import_langgraph
from weft.compiler.parse import print_module
from weft.core.errors import ProgramError

GRAPH = """
from langgraph.graph import END, START, MessagesState, StateGraph

def step(state):
    return {}

def build():
    builder = StateGraph(MessagesState)
    builder.add_node("step", step)
    builder.add_edge(START, "step")
    builder.add_edge("step", END)
    return builder
"""
STEP = {("START", "step", "direct"), ("step", "END", "direct")}


def test_keys_are_dummies_missing_modules_are_stood_in_for_and_runs_are_skipped(tmp_path: Path) -> None:
    imported = import_text(
        tmp_path,
        GRAPH
        + """
import os, getpass
from dotenv import load_dotenv
from langchain_anthropic import ChatAnthropic
from langchain_openai import OpenAIEmbeddings
from langchain_community.tools import TavilySearchResults
from my_company.prompts import SYSTEM
import chromadb

load_dotenv()
if not os.environ.get("OPENAI_API_KEY"):
    os.environ["OPENAI_API_KEY"] = getpass.getpass("key")
assert os.environ["SOME_DATABASE"]
model = ChatAnthropic(model="claude-sonnet").bind_tools([TavilySearchResults(max_results=2)])
store = chromadb.Client().create_collection("docs")

@store.decorated(7)
def step(state):
    return {"messages": [model.invoke(state["messages"])]}

graph = build().compile()
print(graph.invoke({"messages": []})["messages"][-1].content)
for event in graph.stream({}):
    print(event)
with open("left_behind.txt", "w") as file:
    file.write("x")
""",
    )
    (graph,) = imported.graphs
    assert edges(graph) == STEP
    assert [(model.name, model.tools) for model in graph.node("step").models] == [
        ("claude-sonnet", ("tavily_search_results_json",))
    ]
    stubbed = {stub.name for stub in imported.stubbed}
    assert {"langchain_anthropic", "my_company", "chromadb"} <= stubbed
    assert sum("at import: skipped" in note for note in imported.notes) == 2
    assert not Path("left_behind.txt").exists()
    assert not (tmp_path / "left_behind.txt").exists()


def test_a_caught_network_failure_is_reported(tmp_path: Path) -> None:
    imported = import_text(
        tmp_path,
        GRAPH
        + """
import urllib.request
try:
    urllib.request.urlopen("http://example.com/")
except OSError:
    pass
graph = build().compile()
""",
    )
    assert any("example.com" in note and "blocked" in note for note in imported.notes)


OLD = """
from typing import Annotated, Sequence, TypedDict
import operator
from langchain_core.pydantic_v1 import BaseModel, Field
from langgraph.graph import END, MessageGraph
from langgraph.prebuilt import ToolExecutor, ToolInvocation
from langchain.tools import tool
from langchain.chat_models import ChatOpenAI

@tool
def search(query: str) -> str:
    "search"
    return query

executor = ToolExecutor([search])
model = ChatOpenAI(model_name="gpt-4")

def act(messages):
    return executor.invoke(ToolInvocation(tool="search", tool_input="x"))

graph = MessageGraph()
graph.add_node("agent", model)
graph.add_node("action", act)
graph.set_entry_point("agent")
ways = {"continue": "action", "end": END}
graph.add_conditional_edges("agent", lambda messages: "end" if messages else "continue", ways)
graph.add_edge("action", "agent")
app = graph.compile()
"""


def test_older_programs_read_as_they_did(tmp_path: Path) -> None:
    imported = import_text(tmp_path, OLD)
    (graph,) = imported.graphs
    assert graph.style == "MessageGraph"
    assert edges(graph) == {
        ("START", "agent", "direct"),
        ("agent", "action", "conditional"),
        ("agent", "END", "conditional"),
        ("action", "agent", "direct"),
    }
    assert graph.node("agent").models[0].name == "gpt-4"
    assert [tool.name for tool in graph.node("action").tools] == ["search"]
    assert "langgraph.prebuilt.ToolInvocation" in {stub.name for stub in imported.stubbed}


def test_factories_notebooks_repositories_and_graphs_without_a_name(tmp_path: Path) -> None:
    (tmp_path / "agent").mkdir()
    (tmp_path / "agent" / "nodes.py").write_text("def helper(state):\n    return {}\n")
    (tmp_path / "agent" / "graph.py").write_text(
        GRAPH + "from .nodes import helper\nasync def make(config):\n    return build().add_node(helper).compile()\n"
    )
    (tmp_path / "langgraph.json").write_text(json.dumps({"graphs": {"one": "./agent/graph.py:make"}}))
    (graph,) = import_langgraph(str(tmp_path)).graphs
    assert {node.name for node in graph.nodes} == {"step", "helper"}

    cells = [GRAPH, "!pip install x\n%time\nbuilt = build().compile()\nawait built.ainvoke({})"]
    notebook = {"cells": [{"cell_type": "code", "source": cell.splitlines(keepends=True)} for cell in cells]}
    imported = import_text(tmp_path, json.dumps(notebook), name="book.ipynb")
    assert imported.roots == ("built",)

    hidden = import_text(tmp_path, GRAPH + "def main():\n    build().compile()\nmain()\n", name="hidden.py")
    assert edges(hidden.graphs[0]) == STEP
    script = import_text(
        tmp_path, GRAPH + "if __name__ == '__main__':\n    app = build().compile()\n    app.invoke({})\n", name="s.py"
    )
    assert edges(script.graphs[0]) == STEP


@pytest.mark.parametrize(
    ("text", "variable", "message"),
    [
        ("def (:\n", "", r"program.py:1: does not parse"),
        ("x = 1\n", "", "holds no graph"),
        (GRAPH + "graph = build().compile()\n", "agent", "there is no such variable; name one of .*graph"),
        (GRAPH + "def make(model, tools):\n    return StateGraph(model)\n", "make", "needs arguments: model, tools"),
        (GRAPH + "def make(model, *, tools):\n    return StateGraph(model)\ndel build\n", "", "needs arguments: model"),
        (
            "import urllib.request\nurllib.request.urlopen('http://example.com')\n",
            "",
            "program.py:2: calls the network",
        ),
        ("import os\nos.kill(os.getpid(), 9)\n", "", "ends its process"),
        ("x = 'a' * (8 << 30)\n", "", "needs more than 1024 MiB"),
        ("name = input('who?')\n", "", "asks for input at import"),
        ("raise ValueError('no config')\n", "", "program.py:1: fails at import: ValueError: no config"),
    ],
)
def test_what_cannot_be_read_is_one_clear_error(tmp_path: Path, text: str, variable: str, message: str) -> None:
    path = tmp_path / "program.py"
    path.write_text(text)
    reference = f"{path}:{variable}" if variable else str(path)
    with pytest.raises(ProgramError, match=message):
        import_langgraph(reference, ImportLimits(memory_bytes=1 << 30))


def test_a_program_that_never_ends_is_stopped(tmp_path: Path) -> None:
    path = tmp_path / "program.py"
    path.write_text("while True:\n    pass\n")
    with pytest.raises(ProgramError, match="is not imported after 2 s"):
        import_langgraph(str(path), ImportLimits(wall_s=2.0))


def test_cyclic_imports_and_broken_modules_name_their_line(tmp_path: Path) -> None:
    (tmp_path / "first.py").write_text("from second import b\na = 1\n")
    (tmp_path / "second.py").write_text("from first import a\nb = 2\n")
    with pytest.raises(ProgramError, match=r"second.py:1: cyclic import"):
        import_langgraph(str(tmp_path / "first.py"))
    (tmp_path / "broken.py").write_text("def f(:\n")
    (tmp_path / "third.py").write_text("import broken\n")
    with pytest.raises(ProgramError, match=r"broken.py:1: does not parse"):
        import_langgraph(str(tmp_path / "third.py"))


def test_a_module_needs_models_of_the_catalogue(tmp_path: Path) -> None:
    text = OLD.replace("langchain.chat_models", "langchain_openai")
    imported = import_text(tmp_path, text)
    with pytest.raises(ProgramError, match=r"not in the catalogue: gpt-4 \(node agent\); .*--model 'gpt-4="):
        to_module(imported)
    assert to_module(imported, Assumptions(models={"gpt-4": "llama-3.1-8b"})).ops


def test_the_command_writes_json_a_figure_and_a_module(tmp_path: Path) -> None:
    path = tmp_path / "program.py"
    path.write_text(GRAPH + "graph = build().compile()\n")
    runner = CliRunner()
    done = runner.invoke(app_for(["import"]), ["import", "langgraph", str(path), "--json", "-"])
    assert done.exit_code == 0, done.output
    document = json.loads(done.output)
    assert document["imported"]["roots"] == ["graph"]
    assert document["coverage"][0]["nodes"] == {"python": 1}
    mermaid, module = tmp_path / "graph.mmd", tmp_path / "graph.mlir"
    done = runner.invoke(
        app_for(["import"]), ["import", "langgraph", str(path), "--mermaid", str(mermaid), "-o", str(module)]
    )
    assert done.exit_code == 0, done.output
    assert "step" in done.output
    assert mermaid.read_text().startswith("flowchart TD")
    assert 'data.apply "step"' in module.read_text()


TRACED = """
import operator
from typing import Annotated, TypedDict
from langchain_core.language_models.fake_chat_models import GenericFakeChatModel
from langchain_core.messages import AIMessage
from langgraph.graph import END, START, StateGraph
from langgraph.types import Send

usage = {"input_tokens": 30, "output_tokens": 4, "total_tokens": 34}
model = GenericFakeChatModel(messages=iter([AIMessage("x", usage_metadata=usage)] * 99), model_name="scripted")

class State(TypedDict, total=False):
    left: list[str]
    done: Annotated[list[str], operator.add]

def plan(state):
    model.invoke("plan")
    return {}

def fan(state):
    return [Send("work", {"left": [each]}) for each in state["left"]]

def work(state):
    return {"done": state["left"]}

def check(state):
    return {"left": state["left"][1:]}

def again(state):
    return state.get("next", "plan" if state["left"] else END)

builder = StateGraph(State)
for node in (plan, work, check):
    builder.add_node(node)
builder.add_edge(START, "plan")
builder.add_conditional_edges("plan", fan, ["work"])
builder.add_edge("work", "check")
builder.add_conditional_edges("check", again)
graph = builder.compile()
"""


def test_a_trace_gives_counts_tokens_chances_and_width(tmp_path: Path) -> None:
    imported = import_text(tmp_path, TRACED, trace="graph.invoke({'left': ['a', 'b', 'c', 'd']})")
    (graph,) = imported.graphs
    seen = {edge: graph_edge for graph_edge in graph.edges for edge in [(graph_edge.source, graph_edge.target)]}
    assert seen["plan", "work"].seen is not None
    assert seen["plan", "work"].seen.count == 4 + 3 + 2 + 1
    assert seen["check", "plan"].probability == 0.75
    assert seen["check", "__end__"].probability == 0.25
    (model,) = graph.node("plan").models
    assert model.seen is not None
    assert (model.seen.count, model.seen.input_tokens, model.seen.output_tokens) == (4, 30, 4)
    text = print_module(to_module(imported, Assumptions(models={"*": "llama-3.1-8b"})))
    assert "width = 2.500000e+00" in text, "four rounds of 4, 3, 2 and 1 items"
    assert "isl = 30 : i64, osl = 4 : i64" in text


def test_a_traced_run_shows_edges_that_no_one_declared(tmp_path: Path) -> None:
    text = TRACED.replace(
        'state.get("next", "plan" if state["left"] else END)', 'state["left"] and state["left"][0] or END'
    )
    imported = import_text(tmp_path, text, trace="graph.invoke({'left': ['a', 'plan']})")
    observed = [edge for edge in imported.graphs[0].edges if edge.provenance is Provenance.OBSERVED]
    assert [(edge.source, edge.target) for edge in observed] == [("check", "plan")]


def test_a_trace_that_fails_is_one_clear_error(tmp_path: Path) -> None:
    with pytest.raises(ProgramError, match=r"--trace 'graph.invoke\(1\)': fails"):
        import_text(tmp_path, TRACED, trace="graph.invoke(1)")
