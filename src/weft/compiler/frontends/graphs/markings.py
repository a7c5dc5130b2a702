"""A program's graphs → a finite automaton of markings, by LangGraph's own rules: in each superstep the nodes of the
frontier run at the same time, then every edge, decision and join that they complete makes the next frontier.

Graphs inside nodes are entered, not copied: a position is a stack of frames. Inner graphs of one superstep run one
after the other (an assumption that costs latency, never work).
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from weft.compiler.frontends.graphs.graph import (
    END,
    START,
    Edge,
    EdgeKind,
    Graph,
    Imported,
    Node,
    OpenChoice,
    Provenance,
)
from weft.core.errors import ProgramError

LIMIT = 600
MAX_DEPTH = 12
Join = tuple[str, tuple[str, ...], str]  # (target, all sources, the source that is done)


@dataclass(frozen=True, slots=True)
class Frame:
    """Where a run stands in one graph. `path` names the graph by the nodes around it. `mapped` nodes of the frontier
    run once an item; `waiting` holds finished sources of joins, `deferred` nodes that wait for all others."""

    graph: str
    path: str
    frontier: tuple[str, ...]
    mapped: frozenset[str] = frozenset()
    waiting: frozenset[Join] = frozenset()
    deferred: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Option:
    """One way out of a decision: to some nodes (none: nothing follows from it), mapped or not."""

    targets: tuple[str, ...]
    probability: float
    label: str
    mapped: bool = False


@dataclass(frozen=True, slots=True)
class Decision:
    """What one router of one node may answer. `provenance` is that of the probabilities."""

    node: str
    router: str
    options: tuple[Option, ...]
    provenance: Provenance


@dataclass(frozen=True, slots=True)
class Run:
    """The nodes of the top frame's frontier run."""

    stack: tuple[Frame, ...]


@dataclass(frozen=True, slots=True)
class Inner:
    """The `index`-th inner graph of the frontier starts."""

    stack: tuple[Frame, ...]
    index: int


@dataclass(frozen=True, slots=True)
class Decide:
    """The `index`-th decision of the frontier is taken; `chosen` are the nodes so far, with those that are mapped."""

    stack: tuple[Frame, ...]
    index: int
    chosen: frozenset[str]
    mapped: frozenset[str]


@dataclass(frozen=True, slots=True)
class Done: ...


Position = Run | Inner | Decide | Done


class Markings:
    def __init__(self, imported: Imported, root: str) -> None:
        self.imported = imported
        self.root = root

    def start(self) -> Position:
        """Before the first superstep the decisions of START are taken."""
        return self._begin((), self.root, "")

    def graph(self, frame: Frame) -> Graph:
        return self.imported.graph(frame.graph)

    def nodes(self, frame: Frame) -> list[Node]:
        return [self.graph(frame).node(name) for name in frame.frontier if name != START]

    def after_run(self, position: Run) -> Position:
        return self._inner(position.stack, 0)

    def after_inner(self, position: Inner) -> Position:
        """Enters the inner graph; when that ends, the next one is next."""
        top = position.stack[-1]
        node, inner = self.inner_graphs(top, len(position.stack))[position.index]
        return self._begin(position.stack, inner, f"{top.path}{node}/")

    def after_decision(self, position: Decide, option: Option) -> Position:
        mapped = position.mapped | frozenset(option.targets if option.mapped else ())
        chosen = position.chosen | set(option.targets)
        return self._decide(replace(position, index=position.index + 1, chosen=chosen, mapped=mapped))

    def inner_graphs(self, frame: Frame, depth: int) -> list[tuple[str, str]]:
        """(node, graph) for each graph that runs inside a node of the frontier, mapped nodes apart."""
        if depth > MAX_DEPTH:
            return []
        plain = [node for node in self.nodes(frame) if node.name not in frame.mapped]
        return [(node.name, inner) for node in plain for inner in node.subgraphs]

    def decisions(self, frame: Frame) -> list[Decision]:
        graph = self.graph(frame)
        return [decision for name in frame.frontier for decision in decisions_of(graph, name)]

    # --- between positions

    def _begin(self, stack: tuple[Frame, ...], graph: str, path: str) -> Position:
        frame = Frame(graph, path, (START,))
        return self._decide(Decide((*stack, frame), 0, frozenset(), frozenset()))

    def _inner(self, stack: tuple[Frame, ...], index: int) -> Position:
        if index < len(self.inner_graphs(stack[-1], len(stack))):
            return Inner(stack, index)
        return self._decide(Decide(stack, 0, frozenset(), frozenset()))

    def _decide(self, position: Decide) -> Position:
        if position.index < len(self.decisions(position.stack[-1])):
            return position
        return self._next(position)

    def _next(self, position: Decide) -> Position:
        """The next frontier: what was chosen, what direct edges lead to, joins that are complete now."""
        frame = position.stack[-1]
        graph = self.graph(frame)
        always = (EdgeKind.DIRECT, EdgeKind.CALL)
        direct = {edge.target for edge in graph.edges if edge.kind in always and edge.source in frame.frontier}
        waiting, joined = _joins(graph, frame)
        following = {*position.chosen, *direct, *joined} - {END}
        late = {node.name for node in graph.nodes if node.defer}
        deferred = frame.deferred | (following & late)
        now = following - late
        if not now and deferred:
            now, deferred = set(deferred), frozenset[str]()
        if not now:
            return self._pop(position.stack)
        mapped = position.mapped & now
        top = Frame(frame.graph, frame.path, tuple(sorted(now)), mapped, waiting, frozenset(deferred))
        return Run((*position.stack[:-1], top))

    def _pop(self, stack: tuple[Frame, ...]) -> Position:
        if len(stack) == 1:
            return Done()
        inner, below = stack[-1], stack[:-1]
        entered = [f"{below[-1].path}{node}/" for node, _ in self.inner_graphs(below[-1], len(below))]
        names = [graph for _, graph in self.inner_graphs(below[-1], len(below))]
        index = next(
            i
            for i, (path, name) in enumerate(zip(entered, names, strict=True))
            if (path, name) == (inner.path, inner.graph)
        )
        return self._inner(below, index + 1)


def decisions_of(graph: Graph, node: str) -> list[Decision]:
    """One decision a router; equal chances where nothing was observed."""
    routers: dict[str, list[Edge]] = {}
    for edge in graph.edges:
        if edge.source == node and edge.kind in (EdgeKind.CONDITIONAL, EdgeKind.COMMAND, EdgeKind.SEND):
            routers.setdefault(edge.router, []).append(edge)
    opened = {choice.router: choice for choice in graph.open_choices if choice.source == node}
    for router in opened:
        routers.setdefault(router, [])
    return [_decision(graph, node, router, edges, opened.get(router)) for router, edges in routers.items()]


def _decision(graph: Graph, node: str, router: str, edges: list[Edge], choice: OpenChoice | None) -> Decision:
    seen = [edge for edge in edges if edge.probability is not None]
    options = [
        Option((edge.target,), edge.probability or 0.0, edge.label or edge.target, edge.kind is EdgeKind.SEND)
        for edge in edges
    ]
    if choice is not None and choice.any_node and not seen:
        known = {edge.target for edge in edges}
        options += [
            Option((name,), 0.0, name) for name in [*(each.name for each in graph.nodes), END] if name not in known
        ]
    total = sum(option.probability for option in options)
    if total <= 0:
        options = [replace(option, probability=1 / len(options)) for option in options]
    else:
        options = [
            replace(option, probability=option.probability / total) for option in options if option.probability > 0
        ]
    provenance = Provenance.ASSUMED
    if seen:
        provenance = Provenance.OBSERVED if any(edge.seen for edge in seen) else Provenance.DECLARED
    return Decision(node, router, tuple(options), provenance)


def _joins(graph: Graph, frame: Frame) -> tuple[frozenset[Join], set[str]]:
    done = set(frame.waiting)
    for edge in graph.edges:
        if edge.kind is EdgeKind.JOIN and edge.source in frame.frontier:
            done.add((edge.target, edge.join, edge.source))
    groups = {(target, sources) for target, sources, _ in done}
    full = {group for group in groups if all((*group, source) in done for source in group[1])}
    waiting = frozenset(each for each in done if (each[0], each[1]) not in full)
    return waiting, {target for target, _ in full}


def walk(markings: Markings) -> Iterator[tuple[Position, list[tuple[Position, float]]]]:
    """Every position that a run can reach, in the order of a breadth-first walk, with its successors."""
    todo: list[Position] = [markings.start()]
    seen: set[Position] = set(todo)
    while todo:
        position = todo.pop(0)
        following = successors(markings, position)
        yield position, following
        for each, _ in following:
            if each not in seen:
                seen.add(each)
                todo.append(each)
        if len(seen) > LIMIT:
            raise ProgramError(
                subject=markings.root,
                problem=f"its parallel branches and joins give more than {LIMIT} different supersteps",
                way_out="trace a run (--trace), so that open choices narrow to what was seen",
            )


def successors(markings: Markings, position: Position) -> list[tuple[Position, float]]:
    match position:
        case Run():
            return [(markings.after_run(position), 1.0)]
        case Inner():
            return [(markings.after_inner(position), 1.0)]
        case Decide():
            decision = markings.decisions(position.stack[-1])[position.index]
            return [(markings.after_decision(position, option), option.probability) for option in decision.options]
        case Done():
            return []
