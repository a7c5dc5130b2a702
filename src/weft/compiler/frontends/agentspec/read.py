# pyright: standard
"""An Agent Spec component → Graphs: control flow edges as they stand, agents as the loop of model and tools that they
are, map nodes as a fan-out. What the graph has no place for is a note.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import yaml
from pyagentspec import Agent, AgentSpecDeserializer, Swarm
from pyagentspec.agenticcomponent import AgenticComponent
from pyagentspec.component import Component
from pyagentspec.flows.flow import Flow
from pyagentspec.flows.node import Node as SpecNode
from pyagentspec.flows.nodes import (
    AgentNode,
    ApiNode,
    BranchingNode,
    EndNode,
    FlowNode,
    InputMessageNode,
    LlmNode,
    MapNode,
    OutputMessageNode,
    StartNode,
    ToolNode,
)
from pyagentspec.llms import LlmConfig

from weft.compiler.frontends.graphs.graph import (
    END,
    START,
    Edge,
    EdgeKind,
    Graph,
    Imported,
    Model,
    Node,
    NodeKind,
    Seen,
    Tool,
)
from weft.core.errors import ProgramError

METADATA = "weft"
"""Key of a component's metadata under which the exporter keeps what Agent Spec has no field for."""


def read_component(text: str, path: Path) -> Imported:
    try:
        component = AgentSpecDeserializer().from_dict(yaml.safe_load(text))  # JSON is YAML
    except Exception as error:  # whatever pydantic, YAML or pyagentspec find wrong
        line = " ".join(str(error).split())[:300]
        raise ProgramError(
            subject=str(path), problem=f"is no Agent Spec component: {line}", way_out="mend the file"
        ) from error
    reader = _Reader(str(path))
    root = reader.graph(component)
    graphs, notes = tuple(reader.graphs.values()), tuple(reader.notes)
    return Imported(str(path), (root,), graphs, notes=notes, framework="agentspec")


class _Reader:
    """`graphs` holds each flow and agent once, under its name."""

    def __init__(self, subject: str) -> None:
        self._subject = subject
        self._names: dict[str, str] = {}
        self.graphs: dict[str, Graph] = {}
        self.notes: list[str] = []

    def graph(self, component: Any) -> str:
        if component.id in self._names:
            return self._names[component.id]
        name, number = component.name, 1
        while name in self._names.values():
            number += 1
            name = f"{component.name}#{number}"
        self._names[component.id] = name
        match component:
            case Flow():
                self.graphs[name] = self._flow(component, name)
            case Agent():
                self.graphs[name] = self._agent(component, name)
            case Swarm():
                self.graphs[name] = self._swarm(component, name)
            case AgenticComponent():
                self.graphs[name] = self._remote(component, name)
            case _:
                raise ProgramError(
                    subject=self._subject,
                    problem=f"holds a {type(component).__name__}, no flow, agent or swarm",
                    way_out="give a file whose outermost component is one",
                )
        return name

    # --- agents

    def _agent(self, agent: Agent, name: str) -> Graph:
        model = self._model(agent.llm_config, agent, tuple(tool.name for tool in agent.tools))
        tools = tuple(Tool(tool.name, tool.description or "") for tool in agent.tools)
        nodes = [Node("model", NodeKind.MODEL, type(agent).__name__, models=(model,))]
        edges = [Edge(START, "model", EdgeKind.DIRECT)]
        if tools:
            nodes.append(Node("tools", NodeKind.TOOLS, "tools", tools=tools))
            edges += [Edge("model", each, EdgeKind.CONDITIONAL, router="tool calls") for each in ("tools", END)]
            edges.append(Edge("tools", "model", EdgeKind.DIRECT))
        else:
            edges.append(Edge("model", END, EdgeKind.DIRECT))
        return Graph(name, tuple(nodes), tuple(edges), style="Agent", run_name=name)

    def _swarm(self, swarm: Any, name: str) -> Graph:
        """Each agent may hand over to those it has a relationship with, or answer."""
        agents = {swarm.first_agent.name: swarm.first_agent}
        agents |= {agent.name: agent for pair in swarm.relationships for agent in pair}
        nodes = [Node(key, NodeKind.SUBGRAPH, "Agent", subgraphs=(self.graph(agent),)) for key, agent in agents.items()]
        edges = [Edge(START, swarm.first_agent.name, EdgeKind.DIRECT)]
        for caller, recipient in swarm.relationships:
            edges.append(Edge(caller.name, recipient.name, EdgeKind.COMMAND, router="hand over"))
        edges += [Edge(key, END, EdgeKind.COMMAND, router="hand over") for key in agents]
        return Graph(name, tuple(nodes), tuple(edges), style="Swarm", run_name=name)

    def _remote(self, component: Any, name: str) -> Graph:
        kind = type(component).__name__
        node = Node(component.name, NodeKind.OPAQUE, kind, opaque=(f"a {kind} runs elsewhere: nothing of it is read",))
        edges = (Edge(START, node.name, EdgeKind.DIRECT), Edge(node.name, END, EdgeKind.DIRECT))
        return Graph(name, (node,), edges, style=kind, run_name=name)

    # --- flows

    def _flow(self, flow: Flow, name: str) -> Graph:
        names = [node.name for node in flow.nodes]
        if twice := sorted({each for each in names if names.count(each) > 1}):
            raise ProgramError(
                subject=f"{self._subject}, flow {name}",
                problem=f"has several nodes called {', '.join(twice)}",
                way_out="give each node a name of its own",
            )
        inner = [node for node in flow.nodes if not isinstance(node, StartNode | EndNode)]
        edges = [self._edge(each) for each in flow.control_flow_connections]
        for node in inner:
            led = {edge.from_branch or SpecNode.DEFAULT_NEXT_BRANCH for edge in _leaving(flow, node)}
            for branch in sorted(set(node.branches or [SpecNode.DEFAULT_NEXT_BRANCH]) - led):
                self.notes.append(f"{name}: branch {branch} of {node.name} leads nowhere")
        if flow.data_flow_connections:
            self.notes.append(f"{name}: {len(flow.data_flow_connections)} data connections travel in the state")
        nodes = tuple(self._node(node) for node in inner)
        return Graph(name, nodes, tuple(dict.fromkeys(edges)), style="Flow", run_name=name)

    def _edge(self, edge: Any) -> Edge:
        source = START if isinstance(edge.from_node, StartNode) else edge.from_node.name
        target = END if isinstance(edge.to_node, EndNode) else edge.to_node.name
        branch, chance = edge.from_branch or SpecNode.DEFAULT_NEXT_BRANCH, _kept(edge).get("probability")
        decides = len(edge.from_node.branches or []) > 1
        router = edge.from_node.name if decides else ""
        label = _label(edge.from_node, branch) if decides else ""
        if isinstance(edge.to_node, MapNode):
            return Edge(source, target, EdgeKind.SEND, router=router or "map", label=label, fan_out=True)
        kind = EdgeKind.CONDITIONAL if decides else EdgeKind.DIRECT
        return Edge(source, target, kind, router=router, label=label, probability=chance)

    def _node(self, node: SpecNode) -> Node:
        for kind, read in _READERS:
            if isinstance(node, kind):
                return read(self, node)
        called = type(node).__name__
        return Node(node.name, NodeKind.OPAQUE, called, opaque=(f"{called} is not known here",))

    def _llm(self, node: LlmNode) -> Node:
        return Node(node.name, NodeKind.MODEL, "LlmNode", models=(self._model(node.llm_config, node, ()),))

    def _tool(self, node: ToolNode) -> Node:
        kept = _kept(node)
        seen = Seen(0, seconds=kept["core_s"]) if "core_s" in kept else None
        if kept.get("op") == "data.apply":
            return Node(node.name, NodeKind.PYTHON, node.tool.name, seen=seen)
        tool = Tool(node.tool.name, node.tool.description or "", seen=seen)
        return Node(node.name, NodeKind.TOOLS, type(node.tool).__name__, tools=(tool,))

    def _api(self, node: ApiNode) -> Node:
        return Node(node.name, NodeKind.TOOLS, "ApiNode", tools=(Tool(f"{node.http_method} {node.url}"),))

    def _inner(self, node: Any) -> Node:
        inner = node.agent if isinstance(node, AgentNode) else node.subflow
        if isinstance(node, MapNode) and node.reducers:
            kept = ", ".join(f"{key} by {getattr(how, 'value', how)}" for key, how in node.reducers.items())
            self.notes.append(f"{node.name}: results are reduced ({kept}); here they are gathered")
        return Node(node.name, NodeKind.SUBGRAPH, type(node).__name__, subgraphs=(self.graph(inner),))

    def _message(self, node: Any) -> Node:
        waits = ("inside",) if isinstance(node, InputMessageNode) else ()
        return Node(node.name, NodeKind.PYTHON, type(node).__name__, interrupts=waits)

    def _branch(self, node: BranchingNode) -> Node:
        return Node(node.name, NodeKind.PYTHON, "BranchingNode")

    def _model(self, config: LlmConfig, caller: Component, tools: tuple[str, ...]) -> Model:
        name = getattr(config, "model_id", None)
        if config.default_generation_parameters is not None:
            self.notes.append(f"{caller.name}: generation parameters of {config.name} are not read")
        sizes = _kept(caller)
        seen = Seen(0, sizes["isl"], sizes["osl"]) if {"isl", "osl"} <= sizes.keys() else None
        return Model(name, type(config).__name__, f"{type(config).__name__}({name or ''})", tools, seen=seen)


_Read = Callable[[_Reader, Any], Node]
_READERS: tuple[tuple[type | tuple[type, ...], _Read], ...] = (
    (LlmNode, _Reader._llm),
    (ToolNode, _Reader._tool),
    (ApiNode, _Reader._api),
    ((AgentNode, FlowNode, MapNode), _Reader._inner),
    ((InputMessageNode, OutputMessageNode), _Reader._message),
    (BranchingNode, _Reader._branch),
)


def _kept(component: Any) -> Mapping[str, Any]:
    return (component.metadata or {}).get(METADATA, {})


def _label(node: Any, branch: str) -> str:
    """The answers that lead to a branch; the branch itself where it has none."""
    mapping = node.mapping if isinstance(node, BranchingNode) else {}
    return " | ".join(answer for answer, each in mapping.items() if each == branch) or branch


def _leaving(flow: Flow, node: SpecNode) -> list[Any]:
    return [edge for edge in flow.control_flow_connections if edge.from_node is node]
