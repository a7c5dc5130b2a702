"""Traces of one agent program → Graphs: each agent is a graph, its calls are nodes, what followed what are edges.

Several runs merge into one graph. All is `observed`: an edge that no run took is not there.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from weft.compiler.frontends.graphs.graph import (
    END,
    Edge,
    EdgeKind,
    Graph,
    Imported,
    Model,
    Node,
    NodeKind,
    Provenance,
    Seen,
    Tool,
)
from weft.compiler.frontends.otel.order import Bag, Followed, Visit, followed
from weft.compiler.frontends.otel.spans import Operation, Span, read_spans
from weft.core.errors import InputError

_SCOPES = (Operation.AGENT, Operation.TOOL)


@dataclass
class _Scope:
    """All runs of one agent: the GenAI spans under each, by the name of their node."""

    runs: list[list[tuple[str, Span]]] = field(default_factory=list[list[tuple[str, Span]]])


def import_spans(paths: Sequence[Path]) -> Imported:
    spans = [span for path in paths for span in read_spans(path)]
    name = ", ".join(str(path) for path in paths)
    if not any(span.operation for span in spans):
        raise InputError(
            subject=name,
            problem=f"holds {len(spans)} spans, none with gen_ai.operation.name",
            way_out="trace with instrumentation that follows OpenTelemetry's GenAI conventions",
        )
    reader = _Reader(spans)
    graphs = tuple(reader.graph(scope) for scope in reader.scopes)
    notes = tuple(reader.notes(spans))
    return Imported(name, reader.roots, graphs, notes=notes, traced=True, framework="otel")


class _Reader:
    """`scopes` are the agents, and the tools that call models, by name."""

    def __init__(self, spans: Sequence[Span]) -> None:
        self._spans = {(span.trace, span.id): span for span in spans}
        self._children: dict[tuple[str, str], list[Span]] = defaultdict(list)
        tops: dict[str, list[Span]] = defaultdict(list)
        self._orphans = 0
        for span in self._spans.values():
            known = (span.trace, span.parent) in self._spans
            self._orphans += bool(span.parent) and not known
            if known:
                self._children[span.trace, span.parent].append(span)
            else:
                tops[span.trace].append(span)
        self.scopes: dict[str, _Scope] = {}
        self.roots = tuple(dict.fromkeys(self._trace(each) for each in tops.values()))

    def _trace(self, tops: list[Span]) -> str:
        """The root graph of one trace: its one agent, or all that its top spans hold."""
        found = [pair for top in tops for pair in self._calls(top, "")]
        if len(found) == 1 and found[0][1].operation is Operation.AGENT:
            return self._run(found[0][1])
        first = min(tops, key=lambda span: span.start_ns)
        name = first.name if first.operation is None else "trace"
        self._add(name, found)
        return name

    def _run(self, scope: Span) -> str:
        self._add(scope.name, [pair for child in self._below(scope) for pair in self._calls(child, "")])
        return scope.name

    def _add(self, name: str, run: list[tuple[str, Span]]) -> None:
        self.scopes.setdefault(name, _Scope()).runs.append(run)
        for _, span in run:
            if span.operation is Operation.AGENT or (span.operation is Operation.TOOL and self._holds(span)):
                self._run(span)

    def _below(self, span: Span) -> list[Span]:
        return self._children[span.trace, span.id]

    def _holds(self, span: Span) -> bool:
        return any(self._calls(child, "") for child in self._below(span))

    def _calls(self, span: Span, path: str) -> list[tuple[str, Span]]:
        """The next GenAI spans from `span` down. Spans between that are none give the names of steps. What runs
        inside a chat span (a client that calls its tools itself) is taken to follow the chat's answer."""
        if span.operation is None:
            inner = f"{path}{span.name}/" if not _is_transport(span) else path
            return [pair for child in self._below(span) for pair in self._calls(child, inner)]
        if span.operation in _SCOPES:
            return [(f"{path}{span.name}", span)]
        inside = [pair for child in self._below(span) for pair in self._calls(child, path)]
        if inside:
            span = replace(span, end_ns=min(each.start_ns for _, each in inside))
        return [(f"{path}{span.name}", span), *inside]

    # --- graphs

    def graph(self, name: str) -> Graph:
        runs = [[(node or name, span) for node, span in run] for run in self.scopes[name].runs]
        visits = [[Visit(node, span.start_ns, span.end_ns) for node, span in run] for run in runs]
        order = followed(visits)
        of_node: dict[str, list[Span]] = defaultdict(list)
        for run in runs:
            for node, span in run:
                of_node[node].append(span)
        nodes = [self._node(node, spans) for node, spans in of_node.items()]
        forks, edges = _edges(order)
        return Graph(name, (*nodes, *forks), tuple(edges), style="spans", run_name=name)

    def _node(self, name: str, spans: list[Span]) -> Node:
        kinds = {span.operation for span in spans}
        seen = Seen(len(spans), seconds=_mean(span.seconds for span in spans))
        if Operation.AGENT in kinds:
            return Node(name, NodeKind.SUBGRAPH, subgraphs=tuple(dict.fromkeys(s.name for s in spans)), seen=seen)
        if Operation.TOOL in kinds:
            agents = tuple(dict.fromkeys(span.name for span in spans if self._holds(span)))
            tool = Tool(spans[0].name, agents=agents, provenance=Provenance.OBSERVED, seen=seen)
            return Node(name, NodeKind.TOOLS, spans[0].name, tools=(tool,), subgraphs=agents, seen=seen)
        if Operation.EMBEDDINGS in kinds:
            opaque = ("embeddings are planned as the CPU time of their span",)
            return Node(name, NodeKind.PYTHON, spans[0].name, opaque=opaque, seen=seen)
        return Node(name, NodeKind.MODEL, spans[0].name, models=_models(spans), seen=seen)

    def notes(self, spans: Sequence[Span]) -> list[str]:
        failed = sum(span.failed for span in spans if span.operation)
        told = [
            f"{len({span.trace for span in spans})} traces, {sum(bool(span.operation) for span in spans)} GenAI spans"
        ]
        told += [f"{failed} spans ended in an error"] if failed else []
        return [*told, *([f"{self._orphans} spans have a parent that is not in the file"] if self._orphans else [])]


def _models(spans: Iterable[Span]) -> tuple[Model, ...]:
    by_name: dict[tuple[str, str], list[Span]] = defaultdict(list)
    for span in spans:
        by_name[span.model, span.provider].append(span)
    return tuple(
        Model(
            model or None,
            provider or "unknown",
            f"{provider}({model})",
            provenance=Provenance.OBSERVED,
            seen=Seen(
                len(calls),
                _mean(each.input_tokens for each in calls),
                _mean(each.output_tokens for each in calls),
                _mean(each.seconds for each in calls),
            ),
        )
        for (model, provider), calls in by_name.items()
    )


def _edges(order: Followed) -> tuple[list[Node], list[Edge]]:
    """A node that is always followed by the same ones has direct edges; otherwise it chooses, with chances. Where a
    choice leads to several nodes at once, a node of its own stands for the fork."""
    forks: dict[str, Node] = {}
    edges: list[Edge] = []
    for source, bags in order.after.items():
        visits = sum(bags.values())
        for bag, count in bags.items():
            if len(bags) == 1:
                edges += [_edge(source, target, width, count, order, None) for target, width in bag]
                continue
            name = bag[0][0] if len(bag) == 1 else f"{source}→{'+'.join(target for target, _ in bag)}"
            if len(bag) > 1:
                forks[name] = Node(name, NodeKind.PYTHON, "fork", seen=Seen(count))
                edges += [_edge(name, target, width, count, order, None) for target, width in bag]
            edges.append(_edge(source, name, bag[0][1] if len(bag) == 1 else 1, count, order, count / visits))
    return list(forks.values()), _merged(edges)


def _edge(source: str, target: str, width: int, count: int, order: Followed, chance: float | None) -> Edge:
    seen = Seen(count * width)
    if width > 1:
        return Edge(
            source, target, EdgeKind.SEND, Provenance.OBSERVED, "observed",
            fan_out=True, probability=1.0 if chance is None else chance, seen=seen,
        )  # fmt: skip
    if chance is not None:
        return Edge(
            source, target, EdgeKind.CONDITIONAL, Provenance.OBSERVED, "observed", probability=chance, seen=seen
        )
    join = _join(source, target, order)
    kind = EdgeKind.JOIN if join else EdgeKind.DIRECT
    return Edge(source, target, kind, Provenance.OBSERVED, join=join, seen=seen)


def _join(source: str, target: str, order: Followed) -> tuple[str, ...]:
    """The nodes that `target` waits for with `source`: always the same, and each always goes there."""
    bags = [bag for bag in order.before.get(target, Counter[Bag]()) if source in dict(bag)]
    if target == END or len(bags) != 1 or len(bags[0]) < 2:
        return ()
    sources = tuple(node for node, _ in bags[0])
    only = all(len(order.after[each]) == 1 and target in _targets(order.after[each]) for each in sources)
    return sources if only and all(width == 1 for _, width in bags[0]) else ()


def _targets(bags: Iterable[Bag]) -> set[str]:
    return {node for bag in bags for node, _ in bag}


def _merged(edges: list[Edge]) -> list[Edge]:
    """One edge a pair: fan-outs of different widths are one, with their chances added."""
    merged: dict[tuple[str, str], Edge] = {}
    for edge in edges:
        key = edge.source, edge.target
        if key not in merged:
            merged[key] = edge
            continue
        first = merged[key]
        assert first.seen is not None
        assert edge.seen is not None
        wide = first if first.fan_out else edge
        chance = (first.probability or 0.0) + (edge.probability or 0.0)
        merged[key] = replace(wide, probability=chance, seen=Seen(first.seen.count + edge.seen.count))
    return list(merged.values())


def _is_transport(span: Span) -> bool:
    """HTTP client spans under a call say nothing about the agent."""
    return span.name.split(" ")[0] in {"GET", "POST", "PUT", "HTTP", "DELETE"}


def _mean(values: Iterable[float]) -> float:
    listed = list(values)
    return sum(listed) / len(listed) if listed else 0.0
