# pyright: standard
"""A LangChain chain (LCEL) → Graph: its parts become nodes, `|` edges, parallel parts a fork and a join, branches
conditional edges, `.map()` a fan-out over an inner graph, fallbacks error edges. Nothing of a chain is dropped.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from langchain_core.language_models import BaseLanguageModel
from langchain_core.retrievers import BaseRetriever
from langchain_core.runnables import (
    Runnable,
    RunnableBranch,
    RunnableLambda,
    RunnableParallel,
    RunnableSequence,
    RunnableWithFallbacks,
)
from langchain_core.runnables.base import RunnableBindingBase, RunnableEach
from langchain_core.runnables.configurable import RunnableConfigurableAlternatives, RunnableConfigurableFields
from langchain_core.runnables.passthrough import RunnableAssign
from langchain_core.runnables.retry import RunnableRetry
from langchain_core.tools import BaseTool
from langgraph.pregel import Pregel

from weft.compiler.frontends.graphs.graph import (
    END,
    START,
    Edge,
    EdgeKind,
    Graph,
    Node,
    NodeKind,
    OpenChoice,
    Policy,
    Provenance,
    Tool,
)
from weft.compiler.frontends.langgraph.bindings import returns_of
from weft.compiler.frontends.langgraph.contents import Contents, function_of
from weft.compiler.frontends.langgraph.runnables import is_chain
from weft.compiler.frontends.langgraph.source import MISSING, source_of

Examine = Callable[[Any, str], Contents]
NameOf = Callable[[Any, str], str]
_RETRY_INTERVAL_S, _RETRY_BACKOFF = 1.0, 2.0  # of RunnableRetry's exponential jitter


@dataclass(frozen=True)
class Port:
    """Where a chain goes on from: a node, and what the edge out of it will be."""

    node: str
    kind: EdgeKind = EdgeKind.DIRECT
    router: str = ""
    label: str = ""
    provenance: Provenance = Provenance.DECLARED


@dataclass
class _Chain:
    examine: Examine
    name_of: NameOf
    known: Mapping[int, str]
    nodes: dict[str, Node] = field(default_factory=dict[str, Node])
    edges: list[Edge] = field(default_factory=list[Edge])
    open_choices: list[OpenChoice] = field(default_factory=list[OpenChoice])

    def add(self, part: Any, ports: list[Port], name: str) -> list[Port]:
        """`part` after `ports`; returns where it ends: one port, or one an alternative."""
        for kinds, visit in _VISITS:
            if isinstance(part, kinds):
                return visit(self, part, ports, name)
        return self._leaf(part, ports, name)

    # --- parts

    def _sequence(self, part: Any, ports: list[Port], name: str) -> list[Port]:
        for number, step in enumerate(part.steps):
            last = number == len(part.steps) - 1
            ports = self.add(step, ports, name if last and name else "")
        return ports

    def _parallel(self, part: Any, ports: list[Port], name: str) -> list[Port]:
        """The dict's keys side by side, then its gathering."""
        steps = part.steps__
        if any(port.kind is not EdgeKind.DIRECT for port in ports) and len(steps) > 1:
            ports = [Port(self._plain(f"{name or 'parallel'}.start", "RunnableParallel", ports))]
        ends = [self._one(self.add(step, list(ports), key), key) for key, step in steps.items()]
        if len(ends) == 1:
            return [Port(ends[0])]
        gather = self._node(Node(self._free(name or "+".join(steps)), NodeKind.PYTHON, "RunnableParallel"))
        self.edges += [Edge(end, gather, EdgeKind.JOIN, join=tuple(ends)) for end in ends]
        return [Port(gather)]

    def _assign(self, part: Any, ports: list[Port], name: str) -> list[Port]:
        return self._parallel(part.mapper, ports, name)

    def _branch(self, part: Any, ports: list[Port], name: str) -> list[Port]:
        """Conditions that are chains run before; each says where the run goes, else the default."""
        router = " | ".join(_called(condition) for condition, _ in part.branches)
        for condition, _ in part.branches:
            if is_chain(condition) or self.examine(condition, name).models:
                ports = self.add(condition, ports, "")
        at = self._one(ports, name or "branch", decides=True)
        ways = [(_called(condition), step) for condition, step in part.branches] + [("default", part.default)]
        ends: list[Port] = []
        for label, step in ways:
            ends += self.add(step, [Port(at, EdgeKind.CONDITIONAL, router, label)], "")
        return ends

    def _each(self, part: Any, ports: list[Port], name: str) -> list[Port]:
        inner = self.name_of(part.bound, name or "each")
        at = self._one(ports, name or "each", decides=True)
        node = self._node(Node(self._free(name or "each"), NodeKind.SUBGRAPH, "RunnableEach", subgraphs=(inner,)))
        self.edges.append(Edge(at, node, EdgeKind.SEND, router="map", fan_out=True))
        return [Port(node)]

    def _fallbacks(self, part: Any, ports: list[Port], name: str) -> list[Port]:
        before = set(self.nodes)
        ends = self.add(part.runnable, ports, name)
        tried = [each for each in self.nodes if each not in before]
        for fallback in part.fallbacks:
            failing, before = tried, set(self.nodes)
            ends = [*ends, *self.add(fallback, [Port(each, EdgeKind.ERROR) for each in failing], "")]
            tried = [each for each in self.nodes if each not in before]
        return ends

    def _binding(self, part: Any, ports: list[Port], name: str) -> list[Port]:
        """`bind`, `with_config`, `with_retry`, a history: around a chain, its parts; around one runnable, that."""
        before = set(self.nodes)
        inner = is_chain(part.bound)
        ends = self.add(part.bound, ports, name) if inner else self._leaf(part, ports, name)
        for retry in [part] if inner else _bindings(part):
            if isinstance(retry, RunnableRetry):
                policy = Policy(retry.max_attempt_number, _RETRY_INTERVAL_S, _RETRY_BACKOFF)
                for key in set(self.nodes) - before:
                    self.nodes[key] = replace(self.nodes[key], retries=(*self.nodes[key].retries, policy))
        return ends

    def _alternatives(self, part: Any, ports: list[Port], name: str) -> list[Port]:
        """A configurable field chooses one of several when the chain runs."""
        at, router = self._one(ports, name or "configurable", decides=True), f"configurable {part.which.id}"
        ends: list[Port] = []
        for label, step in {part.default_key: part.default, **part.alternatives}.items():
            runnable = step if isinstance(step, Runnable) else step()
            ends += self.add(runnable, [Port(at, EdgeKind.CONDITIONAL, router, label)], "")
        return ends

    def _configurable(self, part: Any, ports: list[Port], name: str) -> list[Port]:
        return self.add(part.default, ports, name)

    def _lambda(self, part: Any, ports: list[Port], name: str) -> list[Port]:
        """A function; one that returns other runnables is a router, and they run in its place."""
        source = source_of(function_of(part))
        returned = list(returns_of(source.node)) if source else []
        values = [source.lookup(each) for each in returned] if source else []
        chosen = [each for each in values if isinstance(each, Runnable)]
        if not chosen or source is None:
            return self._leaf(part, ports, name)
        at = self._plain(self._free(name or _called(part)), _called(part), ports)
        unread = any(each is MISSING for each in values)
        before = len(self.edges)
        ends: list[Port] = [Port(at, EdgeKind.CONDITIONAL, _called(part), "itself", Provenance.ASSUMED)] * unread
        for each in {id(each): each for each in chosen}.values():
            ends += self.add(each, [Port(at, EdgeKind.CONDITIONAL, _called(part), "", Provenance.ASSUMED)], "")
        narrowed = tuple(sorted({edge.target for edge in self.edges[before:] if edge.source == at}))
        self.open_choices.append(
            OpenChoice(at, _called(part), EdgeKind.CONDITIONAL, False, narrowed, "", source.location)
        )
        return ends

    # --- nodes

    def _leaf(self, part: Any, ports: list[Port], name: str) -> list[Port]:
        own = self._free(name or self._variable(part) or _called(part))
        contents = self.examine(part, own)
        retriever = isinstance(part, BaseRetriever)
        tools = (Tool(own, type(part).__name__),) if retriever else tuple(contents.tools)
        node = Node(
            own,
            _kind(part, contents),
            _called(part),
            models=tuple(contents.models),
            tools=tools,
            subgraphs=tuple(self.name_of(graph, own) for graph in contents.graphs),
            interrupts=("inside",) if contents.interrupts else (),
            opaque=tuple(contents.opaque),
        )
        return [Port(self._after(node, ports))]

    def _variable(self, part: Any) -> str:
        """The program's name for a runnable, or for the one inside a binding."""
        if id(part) in self.known or not isinstance(part, RunnableBindingBase):
            return self.known.get(id(part), "")
        return self._variable(part.bound)

    def _plain(self, name: str, function: str, ports: list[Port]) -> str:
        return self._after(Node(self._free(name), NodeKind.PYTHON, function), ports)

    def _one(self, ports: list[Port], name: str, decides: bool = False) -> str:
        """The one node that `ports` come from; where they are several, or decisions, one more that they meet in."""
        if len(ports) == 1 and ports[0].kind is EdgeKind.DIRECT and not (decides and self._decides(ports[0].node)):
            return ports[0].node
        return self._plain(f"{name}.chosen", "", ports)

    def _decides(self, node: str) -> bool:
        return any(edge.source == node for edge in self.edges)

    def _after(self, node: Node, ports: list[Port]) -> str:
        self._node(node)
        self.edges += [
            Edge(port.node, node.name, port.kind, port.provenance, port.router, port.label) for port in ports
        ]
        return node.name

    def _node(self, node: Node) -> str:
        self.nodes[node.name] = node
        return node.name

    def _free(self, name: str) -> str:
        number, free = 1, name
        while free in self.nodes:
            number += 1
            free = f"{name}_{number}"
        return free


def read_chain(chain: Any, name: str, examine: Examine, name_of: NameOf, known: Mapping[int, str]) -> Graph:
    """`known`: names that the program's variables give to runnables, by id."""
    reader = _Chain(examine, name_of, known)
    ends = reader.add(chain, [Port(START)], "")
    for port in ends:
        reader.edges.append(Edge(port.node, END, port.kind, port.provenance, port.router, port.label))
    edges = tuple(dict.fromkeys(reader.edges))
    return Graph(name, tuple(reader.nodes.values()), edges, tuple(reader.open_choices), style="LCEL")


def _bindings(part: Any) -> list[Any]:
    """A binding and those inside it."""
    return [part, *_bindings(part.bound)] if isinstance(part, RunnableBindingBase) else []


def _kind(part: Any, contents: Contents) -> NodeKind:
    bound = part.bound if isinstance(part, RunnableBindingBase) else part
    if isinstance(bound, Pregel):
        return NodeKind.SUBGRAPH
    if isinstance(bound, BaseTool | BaseRetriever):
        return NodeKind.TOOLS
    if contents.models or isinstance(bound, BaseLanguageModel):
        return NodeKind.MODEL
    return NodeKind.OPAQUE if contents.opaque and not contents.tools and not contents.graphs else NodeKind.PYTHON


def _called(part: Any) -> str:
    """What a runnable is called: its function's name, else its class."""
    if isinstance(part, RunnableBindingBase):
        return _called(part.bound)
    function = function_of(part) if isinstance(part, RunnableLambda) else None
    own = getattr(function, "__name__", "") if function is not None else ""
    if isinstance(part, BaseTool):
        own = str(part.name)
    fallback = "lambda" if own == "<lambda>" else type(function or part).__name__
    return own if own and own != "<lambda>" else re.sub(r"[\[\{].*$", "", fallback)


_Visit = Callable[[_Chain, Any, list[Port], str], list[Port]]
_VISITS: tuple[tuple[type | tuple[type, ...], _Visit], ...] = (
    (Pregel, _Chain._leaf),
    (RunnableSequence, _Chain._sequence),
    (RunnableParallel, _Chain._parallel),
    (RunnableAssign, _Chain._assign),
    (RunnableBranch, _Chain._branch),
    (RunnableEach, _Chain._each),
    (RunnableWithFallbacks, _Chain._fallbacks),
    (RunnableConfigurableAlternatives, _Chain._alternatives),
    (RunnableConfigurableFields, _Chain._configurable),
    (RunnableBindingBase, _Chain._binding),
    (RunnableLambda, _Chain._lambda),
)
