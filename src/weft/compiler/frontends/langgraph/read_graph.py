# pyright: standard
"""A StateGraph's builder → Graph. Never `get_graph()`: it draws edges that are not there and hides some that are."""

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from langgraph.graph import StateGraph
from langgraph.prebuilt import ToolNode
from langgraph.pregel import Pregel

from weft.compiler.frontends.graphs.graph import (
    START,
    Channel,
    Edge,
    EdgeKind,
    Graph,
    Node,
    NodeKind,
    OpenChoice,
    Policy,
    Provenance,
)
from weft.compiler.frontends.langgraph import stubs
from weft.compiler.frontends.langgraph.branches import branch_edges, command_edges
from weft.compiler.frontends.langgraph.chains import read_chain
from weft.compiler.frontends.langgraph.contents import Contents, Examiner, function_of
from weft.compiler.frontends.langgraph.discover import HIDDEN_CHECKPOINTER, builder_of, graph_in
from weft.compiler.frontends.langgraph.factories import Factories
from weft.compiler.frontends.langgraph.pregel_edges import channel_edges
from weft.compiler.frontends.langgraph.schemas import annotations_of
from weft.compiler.frontends.langgraph.source import source_of
from weft.compiler.frontends.langgraph.values import Values


class GraphReader:
    """Reads graphs and all that they use. `graphs` grows: each builder once, under a unique name. `known` are the
    program's own names for its runnables, by id."""

    def __init__(self, is_program: Callable[[str], bool], root: Path) -> None:
        self._is_program = is_program
        self._root = root
        self._names: dict[int, str] = {}
        self._kept: list[Any] = []
        self._parents: dict[str, list[Values]] = {}
        self._factories = Factories(is_program)
        self.known: dict[int, str] = {}
        self.graphs: dict[str, Graph] = {}

    def read(self, graph: Any, name: str) -> str:
        """Reads `graph` if it is new; returns the name that it has."""
        graph = graph_in(graph) or graph
        key = id(builder_of(graph))
        if key in self._names:
            return self._names[key]
        unique, number = name, 1
        while unique in self._names.values():
            number += 1
            unique = f"{name}#{number}"
        self._names[key] = unique
        self._kept.append(graph)  # an id means nothing once its object is gone
        if isinstance(builder_of(graph), StateGraph):
            self.graphs[unique] = self._state_graph(graph, unique)
        elif isinstance(graph, Pregel):
            self.graphs[unique] = self._pregel(graph, unique)
        else:
            self.graphs[unique] = self._chain(graph, unique)
        return unique

    def _chain(self, chain: Any, name: str) -> Graph:
        def examine(part: Any, key: str) -> Contents:
            examiner = self._examiner(frozenset(), {}, name, key)
            examiner.examine(part)
            return examiner.contents

        return read_chain(chain, name, examine, lambda inner, key: self._subgraph(inner, name, key), self.known)

    # --- StateGraph

    def _state_graph(self, graph: Any, name: str) -> Graph:
        builder = builder_of(graph)
        known, state = frozenset(builder.nodes), annotations_of(builder.state_schema)
        examined = {key: self._examined(spec, key, name, known, state) for key, spec in builder.nodes.items()}
        nodes = [self._node(graph, key, builder.nodes[key], contents, name) for key, contents in examined.items()]
        edges = [Edge(source, target, EdgeKind.DIRECT) for source, target in sorted(builder.edges)]
        for sources, target in sorted(builder.waiting_edges):
            edges += [Edge(source, target, EdgeKind.JOIN, join=tuple(sources)) for source in sources]
        open_choices: list[OpenChoice] = []
        for source, branches in builder.branches.items():
            for router, spec in branches.items():
                found = branch_edges(source, router, spec, known, state, self._is_program, self._shown)
                edges += found.edges
                open_choices += found.open_choices
        for key, spec in builder.nodes.items():
            leaves = any(edge.source == key for edge in edges)
            found = command_edges(key, spec, self._gotos(key, examined[key]), known, leaves, self._shown)
            edges += found.edges
            open_choices += found.open_choices
            if spec.error_handler_node:
                edges.append(Edge(key, spec.error_handler_node, EdgeKind.ERROR))
        self._parents[name] = [values for contents in examined.values() for values in contents.parent_gotos]
        return Graph(
            name=name,
            nodes=tuple(nodes),
            edges=tuple(dict.fromkeys(edges)),
            open_choices=tuple(open_choices),
            channels=tuple(_channel(key, value) for key, value in builder.channels.items()),
            checkpointer=_checkpointer(graph),
            style="StateGraph" if set(builder.channels) != {"__root__"} else "MessageGraph",
            run_name=str(getattr(graph, "name", None) or ""),
        )

    def _examined(self, spec: Any, key: str, graph: str, known: frozenset[str], state: Mapping[str, Any]) -> Contents:
        whole = self._whole(spec.runnable) if function_of(spec.runnable) else spec.runnable
        source = source_of(function_of(spec.runnable))
        library = source is not None and not self._is_program(source.function.__code__.co_filename)

        def examined(runs_tools: bool) -> Contents:
            examiner = self._examiner(known, state, graph, key)
            examiner.runs_tools = runs_tools
            examiner.examine(whole)
            return examiner.contents

        contents = examined(True)
        if not contents.models or not (library or contents.only_binds):
            return contents
        contents = examined(False)  # a library's model node (create_agent) binds the tools in its reach, it runs none
        contents.hand_tools_to_models()
        return contents

    def _examiner(self, known: frozenset[str], state: Mapping[str, Any], graph: str, key: str) -> Examiner:
        name_of = lambda inner: self._subgraph(inner, graph, key)  # noqa: E731
        return Examiner(known, state, self._is_program, name_of, self._factories)

    def _whole(self, runnable: Any) -> Any:
        return runnable if isinstance(runnable, ToolNode) else function_of(runnable)

    def _subgraph(self, graph: Any, parent: str, node: str) -> str:
        own = getattr(graph, "name", None)
        own = own if isinstance(own, str) and own not in ("", "LangGraph") else f"{parent}/{node}"
        return self.read(graph, own)

    def _gotos(self, key: str, contents: Contents) -> list[Values]:
        """Where the node's own code goes, and where graphs inside it hand over to this graph."""
        inner = [
            values for graph in contents.graphs for values in self._parents.get(self._subgraph(graph, "", key), [])
        ]
        return [*contents.gotos, *inner]

    def _node(self, graph: Any, key: str, spec: Any, contents: Contents, name: str) -> Node:
        subgraphs = tuple(dict.fromkeys(self._subgraph(inner, name, key) for inner in contents.graphs))
        source = source_of(function_of(spec.runnable)) if function_of(spec.runnable) else None
        before, after = (getattr(graph, f"interrupt_{when}_nodes", ()) for when in ("before", "after"))
        waits = [when for when, nodes in (("before", before), ("after", after)) if nodes == "*" or key in (nodes or ())]
        return Node(
            name=key,
            kind=_kind(spec.runnable, contents),
            function=source.name if source else type(spec.runnable).__name__,
            source=self._shown(source.location) if source else "",
            models=tuple(contents.models),
            tools=tuple(contents.tools),
            subgraphs=subgraphs,
            interrupts=(*waits, *(["inside"] if contents.interrupts else [])),
            retries=_policies(spec.retry_policy),
            cached=spec.cache_policy is not None,
            defer=bool(spec.defer),
            opaque=tuple(contents.opaque),
        )

    def _shown(self, location: str) -> str:
        path, _, line = location.rpartition(":")
        try:
            return f"{Path(path).resolve().relative_to(self._root)}:{line}"
        except ValueError:
            return re.sub(r"^.*/site-packages/", "", location)

    # --- functional API, and Pregel by hand

    def _pregel(self, graph: Any, name: str) -> Graph:
        nodes: dict[str, Node] = {}
        edges = channel_edges(graph)
        for key, spec in graph.nodes.items():
            self._task(function_of(spec.bound) or spec.bound, key, NodeKind.PYTHON, graph, name, nodes, edges)
        return Graph(
            name,
            tuple(nodes.values()),
            tuple(dict.fromkeys(edges)),
            checkpointer=_checkpointer(graph),
            style="functional" if graph.input_channels == START else "Pregel",
        )

    def _task(
        self, function: Any, key: str, kind: NodeKind, graph: Any, name: str, nodes: dict[str, Node], edges: list[Edge]
    ) -> None:
        """A function of the functional API, and the tasks that its code calls."""
        examiner = self._examiner(frozenset(), {}, name, key)
        examiner.examine(function)
        contents, source = examiner.contents, source_of(function)
        nodes[key] = Node(
            name=key,
            kind=kind if not contents.models or contents.tasks else NodeKind.MODEL,
            function=source.name if source else "",
            source=self._shown(source.location) if source else "",
            models=tuple(contents.models),
            tools=tuple(contents.tools),
            subgraphs=tuple(dict.fromkeys(self._subgraph(inner, name, key) for inner in contents.graphs)),
            interrupts=("inside",) if contents.interrupts else (),
            retries=_policies(getattr(graph, "retry_policy", None)),
            cached=getattr(graph, "cache_policy", None) is not None,
            opaque=tuple(contents.opaque),
        )
        for task in contents.tasks:
            called = str(getattr(task, "name", None) or getattr(task.func, "__name__", "task"))
            edges.append(Edge(key, called, EdgeKind.CALL, Provenance.ASSUMED))
            if called not in nodes:
                self._task(task.func, called, NodeKind.TASK, task, name, nodes, edges)


def _kind(runnable: Any, contents: Contents) -> NodeKind:
    if isinstance(runnable, Pregel | StateGraph) or graph_in(runnable) is not None:
        return NodeKind.SUBGRAPH
    if isinstance(getattr(runnable, "runnable", runnable), ToolNode):  # also one with fallbacks
        return NodeKind.TOOLS
    if contents.models:
        return NodeKind.MODEL
    function = function_of(runnable)
    if stubs.is_stub(function) or (function is None and not contents.graphs and contents.opaque):
        return NodeKind.OPAQUE
    return NodeKind.PYTHON


def _policies(policy: Any) -> tuple[Policy, ...]:
    if policy is None:
        return ()
    policies = [policy] if hasattr(policy, "max_attempts") else list(policy)
    return tuple(
        Policy(int(each.max_attempts), float(each.initial_interval), float(each.backoff_factor)) for each in policies
    )


def _channel(name: str, channel: Any) -> Channel:
    operator = getattr(channel, "operator", None)
    kind = getattr(channel, "typ", None)
    reducer = getattr(operator, "__name__", type(operator).__name__) if operator is not None else ""
    shown = getattr(kind, "__name__", str(kind)) if kind is not None else type(channel).__name__
    return Channel(name, shown, reducer)


def _checkpointer(graph: Any) -> str:
    checkpointer = getattr(graph, "checkpointer", None)
    if hidden := getattr(graph, HIDDEN_CHECKPOINTER, ""):
        return hidden
    return "" if checkpointer in (None, False) else type(checkpointer).__name__
