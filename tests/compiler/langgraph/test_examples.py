"""Every example imports as it is written: nodes, edges, models, tools; and becomes a module that can be planned."""

from functools import cache
from pathlib import Path

import pytest

from tests.compiler.langgraph.reading import choice, edges
from tests.compiler.meaning import PIPELINE, by, changed
from weft.compiler.frontends.graphs.coverage import coverage
from weft.compiler.frontends.graphs.graph import Imported
from weft.compiler.frontends.graphs.mermaid import to_mermaid
from weft.compiler.frontends.graphs.to_module import to_module
from weft.compiler.frontends.langgraph.load import import_langgraph
from weft.compiler.interpret import interpret
from weft.compiler.parse import parse_module, print_module
from weft.compiler.pipeline import compile_agent
from weft.compiler.request import Aim, CompileRequest, Needs

EXAMPLES = Path(__file__).parents[3] / "examples" / "langgraph"
REACT = {
    ("START", "model", "direct"),
    ("model", "tools", "conditional"),
    ("model", "END", "conditional"),
    ("tools", "model", "conditional"),
}
EDGES = {
    "single_agent.py": ("agent", REACT),
    "network.py": (
        "graph",
        {
            ("START", "planner", "direct"),
            ("planner", "coder", "command"),
            ("planner", "critic", "command"),
            ("planner", "END", "command"),
            ("coder", "critic", "command"),
            ("coder", "planner", "command"),
        },
    ),
    "supervisor.py": (
        "graph",
        {
            ("START", "supervisor", "direct"),
            ("supervisor", "mathematician", "command"),
            ("supervisor", "researcher", "command"),
            ("supervisor", "END", "command"),
            ("mathematician", "supervisor", "direct"),
            ("researcher", "supervisor", "direct"),
        },
    ),
    "supervisor_as_tool.py": ("graph", REACT),
    "hierarchical.py": (
        "graph",
        {
            ("START", "head", "direct"),
            ("head", "research", "command"),
            ("head", "writing", "command"),
            ("head", "END", "command"),
            ("research", "head", "direct"),
            ("writing", "head", "direct"),
        },
    ),
    "voice.py": (
        "graph",
        {
            ("START", "hear", "direct"),
            ("hear", "think", "direct"),
            ("think", "look_up", "conditional"),
            ("think", "speak", "conditional"),
            ("look_up", "think", "direct"),
            ("speak", "END", "direct"),
        },
    ),
    "custom.py": (
        "graph",
        {
            ("START", "redact", "direct"),
            ("redact", "retrieve", "direct"),
            ("retrieve", "grade", "direct"),
            ("grade", "rewrite", "conditional"),
            ("grade", "write", "conditional"),
            ("rewrite", "retrieve", "direct"),
            ("write", "review", "direct"),
            ("review", "write", "command"),
            ("review", "send", "command"),
            ("send", "END", "direct"),
        },
    ),
    "map_reduce.py": (
        "graph",
        {
            ("START", "subjects", "direct"),
            ("subjects", "joke", "send"),
            ("joke", "best", "direct"),
            ("best", "END", "direct"),
        },
    ),
    "review.py": (
        "graph",
        {
            ("START", "write", "direct"),
            ("write", "check_facts", "direct"),
            ("write", "check_style", "direct"),
            ("check_facts", "approve", "join"),
            ("check_style", "approve", "join"),
            ("approve", "write", "command"),
            ("approve", "publish", "command"),
            ("publish", "END", "direct"),
        },
    ),
    "functional.py": (
        "write",
        {
            ("START", "write", "direct"),
            ("write", "END", "direct"),
            ("write", "outline", "call"),
            ("write", "essay", "call"),
        },
    ),
}


@cache
def example(name: str) -> Imported:
    return import_langgraph(f"{EXAMPLES / name}:{EDGES[name][0]}")


def test_every_example_is_here() -> None:
    assert {path.name for path in EXAMPLES.glob("*.py")} == set(EDGES)


@pytest.mark.parametrize("name", EDGES)
def test_edges(name: str) -> None:
    imported = example(name)
    graph = imported.graph(imported.roots[0])
    assert edges(graph) == EDGES[name][1]


@pytest.mark.parametrize("name", EDGES)
def test_modules_verify_print_and_parse(name: str) -> None:
    text = print_module(to_module(example(name)))
    assert print_module(parse_module(text, name)) == text


@pytest.mark.parametrize("name", EDGES)
def test_every_example_runs_and_keeps_its_meaning(name: str) -> None:
    source = print_module(to_module(example(name)))
    assert interpret(parse_module(source, name)).trace
    assert not changed(source, by(f"{PIPELINE},split-phases"))


def test_models_and_tools() -> None:
    react = example("single_agent.py").graphs[0]
    (model,) = react.node("model").models
    assert (model.name, model.provider, model.tools) == ("llama-3.1-8b", "ChatOpenAI", ("web_search", "calculate"))
    assert [tool.name for tool in react.node("tools").tools] == ["web_search", "calculate"]
    assert [stub.name for stub in example("single_agent.py").stubbed] in ([], ["langchain_openai"])


def test_hierarchy_is_three_graphs_deep() -> None:
    imported = example("hierarchical.py")
    head = imported.graph("graph")
    research = imported.graph(head.node("research").subgraphs[0])
    searcher = imported.graph(research.node("searcher").subgraphs[0])
    assert searcher.node("tools").tools[0].name == "search"
    assert "team" not in to_mermaid(imported)
    assert to_mermaid(imported).count("subgraph ") == 9


def test_agents_inside_tools_are_found() -> None:
    imported = example("supervisor_as_tool.py")
    tools = {tool.name: tool.agents for tool in imported.graph("graph").node("tools").tools}
    assert tools == {"book_flight": ("flights",), "today": ()}
    assert 'llm.call "tools.book_flight/model"' in print_module(to_module(imported))


def test_what_is_undeclared_is_an_open_choice() -> None:
    critic = choice(example("network.py").graph("graph"), "critic")
    assert critic is not None
    assert critic.any_node
    coder = choice(example("network.py").graph("graph"), "coder")
    assert coder is not None
    assert (coder.any_node, coder.narrowed) == (False, ("critic", "planner"))
    (row,) = coverage(example("network.py"))
    assert (row.open_choices, row.narrowed_choices) == (1, 1)


def test_interrupts_retries_joins_and_reducers() -> None:
    graph = example("review.py").graph("graph")
    assert graph.node("approve").interrupts == ("inside",)
    assert graph.node("publish").interrupts == ("before",)
    assert graph.node("write").retries[0].max_attempts == 5
    assert {channel.name: channel.reducer for channel in graph.channels}["remarks"] == "add"
    assert graph.checkpointer == "InMemorySaver"
    text = print_module(to_module(example("review.py")))
    assert text.count("agent.interrupt") == 2


def test_fan_out_is_a_map_over_a_worker() -> None:
    text = print_module(to_module(example("map_reduce.py")))
    assert 'agent.map "joke.each" @joke' in text
    assert "func.func @joke(" in text


@pytest.mark.parametrize("name", EDGES)
def test_an_imported_agent_is_planned(name: str, tmp_path: Path) -> None:
    path = tmp_path / "agent.mlir"
    path.write_text(print_module(to_module(example(name))))
    deployment = compile_agent(CompileRequest(str(path), Needs(rate_per_s=1.0), aim=Aim(compare=False)))
    assert any(step.name.endswith(".decode") for step in deployment.program.steps)
