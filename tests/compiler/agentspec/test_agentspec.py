"""Agent Spec: what is written comes back, step for step and chance for chance; and specs by hand are read whole."""

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest
import yaml
from pyagentspec import Agent, AgentSpecSerializer
from pyagentspec.component import Component
from pyagentspec.flows.edges import ControlFlowEdge
from pyagentspec.flows.flow import Flow
from pyagentspec.flows.nodes import (
    AgentNode,
    BranchingNode,
    EndNode,
    InputMessageNode,
    LlmNode,
    MapNode,
    StartNode,
    ToolNode,
)
from pyagentspec.llms import VllmConfig
from pyagentspec.tools import ServerTool
from xdsl.dialects import func
from xdsl.ir import Block

from tests.compiler.langgraph.reading import edges
from weft.compiler.control_flow import agent_graph, jump_of, steps_of
from weft.compiler.frontends.agentspec.files import export_agentspec, import_agentspec
from weft.compiler.frontends.graphs.graph import END, START, Imported, NodeKind
from weft.compiler.frontends.graphs.to_module import to_module
from weft.compiler.parse import print_module
from weft.compiler.pipeline import import_module
from weft.core.errors import ProgramError

EXAMPLES = Path(__file__).parents[3] / "examples"
AGENTS = [*sorted((EXAMPLES / "python").glob("*.py")), EXAMPLES / "voice_agent.py"]
LLAMA = VllmConfig(name="llama", url="localhost", model_id="llama-3.1-8b")
SEARCH = ServerTool(name="search", description="Search the web.")


def _follows(function: func.FuncOp) -> Iterator[tuple[str, str, float]]:
    """The oracle: which step follows which, and how likely, straight from the blocks."""
    first = function.body.blocks.first
    assert first is not None
    yield from ((START, step, 1.0) for step, _ in _firsts(first, 1.0))
    for block in function.body.blocks:
        names = [step.step_name for step in steps_of(block)]
        yield from ((one, other, 1.0) for one, other in pairwise(names))
        jump = jump_of(block)
        for (target, _), chance in zip(jump.targets, jump.probabilities, strict=True):
            yield from ((names[-1], step, share) for step, share in (_firsts(target, chance) if names else []))
        if names and not jump.targets:
            yield names[-1], END, 1.0


def _firsts(block: Block, chance: float) -> Iterator[tuple[str, float]]:
    names = [step.step_name for step in steps_of(block)]
    if names or isinstance(block.last_op, func.ReturnOp):
        yield names[0] if names else END, chance
    else:
        yield from _firsts(jump_of(block).targets[0][0], chance)


@pytest.mark.parametrize("path", AGENTS, ids=lambda path: path.stem)
def test_an_agent_survives_the_round_trip(path: Path, tmp_path: Path) -> None:
    module = import_module(str(path))
    text, _ = export_agentspec(module, json=False)
    (tmp_path / "flow.yaml").write_text(text)
    imported = import_agentspec(tmp_path / "flow.yaml")
    (graph,) = imported.graphs
    found = {(edge.source, edge.target): 1.0 if edge.probability is None else edge.probability for edge in graph.edges}
    assert found == pytest.approx({(one, other): chance for one, other, chance in _follows(agent_graph(module))})
    again = print_module(to_module(imported))
    for line in print_module(module).splitlines():
        if "llm.call" in line:
            sizes = line.partition("isl = ")[2].partition(", max")[0]
            assert f"isl = {sizes}" in again
    assert 'agent.provenance = "declared"' in again


def _read(tmp_path: Path, component: Component) -> Imported:
    path = tmp_path / "component.json"
    path.write_text(AgentSpecSerializer().to_json(component))
    return import_agentspec(path)


def _flow(name: str, *nodes: object, branches: dict[tuple[str, str], str] | None = None) -> Flow:
    """A chain of nodes, with further edges (node, branch) → node."""
    start, end = StartNode(name=f"{name} start"), EndNode(name=f"{name} end")
    chain = [start, *nodes, end]
    by_name = {node.name: node for node in chain}
    links = [(one, None, other) for one, other in pairwise(chain)]
    for (source, branch), target in (branches or {}).items():
        links = [link for link in links if link[0].name != source or link[1]]
        links.append((by_name[source], branch, by_name[target]))
    control = [
        ControlFlowEdge(name=f"{one.name}-{branch}", from_node=one, from_branch=branch, to_node=other)
        for one, branch, other in links
    ]
    return Flow(name=name, start_node=start, nodes=chain, control_flow_connections=control)


def test_every_node_kind_and_branch_is_there(tmp_path: Path) -> None:
    agent = Agent(name="helper", llm_config=LLAMA, system_prompt="Help.", tools=[SEARCH])
    worker = _flow("worker", LlmNode(name="draft", llm_config=LLAMA, prompt_template="Write."))
    flow = _flow(
        "office",
        InputMessageNode(name="ask"),
        AgentNode(name="help", agent=agent),
        BranchingNode(name="enough", mapping={"more": "again", "again": "again", "stop": "done"}),
        MapNode(name="write all", subflow=worker),
        ToolNode(name="look", tool=SEARCH),
        branches={
            ("enough", "again"): "ask",
            ("enough", "done"): "write all",
            ("enough", "default"): "look",
        },
    )
    imported = _read(tmp_path, flow)
    graph = imported.graph("office")
    assert edges(graph) == {
        ("START", "ask", "direct"),
        ("ask", "help", "direct"),
        ("help", "enough", "direct"),
        ("enough", "ask", "conditional"),
        ("enough", "write all", "send"),
        ("enough", "look", "conditional"),
        ("write all", "look", "direct"),
        ("look", "END", "direct"),
    }
    assert {edge.label for edge in graph.edges if edge.source == "enough"} == {"more | again", "stop", "default"}
    assert graph.node("ask").interrupts == ("inside",)
    assert edges(imported.graph("helper")) == {
        ("START", "model", "direct"),
        ("model", "tools", "conditional"),
        ("model", "END", "conditional"),
        ("tools", "model", "direct"),
    }
    assert imported.graph("helper").node("model").models[0].tools == ("search",)
    assert imported.graph("worker").node("draft").kind is NodeKind.MODEL
    text = print_module(to_module(imported))
    assert "agent.map" in text
    assert "agent.interrupt" in text


def test_what_leads_nowhere_is_told(tmp_path: Path) -> None:
    flow = _flow(
        "short", BranchingNode(name="enough", mapping={"stop": "done"}), branches={("enough", "done"): "short end"}
    )
    assert "short: branch default of enough leads nowhere" in _read(tmp_path, flow).notes


def test_what_the_exporter_cannot_say_is_told() -> None:
    _, told = export_agentspec(import_module(str(EXAMPLES / "voice_agent.py")), json=True)
    assert "wants_search: a bound of 3 rounds is in metadata only" in told
    assert "hear: media.transcribe is a server tool in the flow" in told


@pytest.mark.parametrize("text", ["[1, 2", "a: 1", yaml.safe_dump({"component_type": "Nothing", "name": "x"})])
def test_what_is_no_component_is_refused(text: str, tmp_path: Path) -> None:
    path = tmp_path / "component.yaml"
    path.write_text(text)
    with pytest.raises(ProgramError, match="is no Agent Spec component"):
        import_agentspec(path)
