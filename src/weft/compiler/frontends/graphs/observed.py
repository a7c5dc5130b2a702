"""What a traced run showed, merged into the graphs that were read: counts, times, tokens, chances, edges unheard of."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

from weft.compiler.frontends.graphs.graph import (
    END,
    START,
    Edge,
    EdgeKind,
    Graph,
    Imported,
    Model,
    Node,
    Provenance,
    Seen,
    Tool,
)

DECIDED = (EdgeKind.CONDITIONAL, EdgeKind.COMMAND, EdgeKind.SEND)


class Visit(Protocol):
    """A visit of a node: in which run of its graph, in which superstep, for how long."""

    graph_run: str
    graph_name: str
    step: int
    node: str
    seconds: float


class Inference(Protocol):
    graph_run: str
    node: str
    model: str
    input_tokens: int
    output_tokens: int
    seconds: float


class Use(Protocol):
    tool: str
    seconds: float


@dataclass
class _Taken:
    """How often each edge was taken: `visits` of the source that took it, `items` that arrived."""

    visits: Counter[tuple[str, str]] = field(default_factory=Counter[tuple[str, str]])
    items: Counter[tuple[str, str]] = field(default_factory=Counter[tuple[str, str]])
    of_node: Counter[str] = field(default_factory=Counter[str])


def merge(
    imported: Imported, visits: Sequence[Visit], inferences: Sequence[Inference], uses: Sequence[Use]
) -> Imported:
    """The graphs with what was seen; nothing that was read is taken away."""
    runs: dict[str, list[Visit]] = defaultdict(list)
    for visit in visits:
        if visit.node != START:  # the router of a conditional entry point runs under this name
            runs[visit.graph_run].append(visit)
    of_graph: dict[str, list[list[Visit]]] = defaultdict(list)
    for run in runs.values():
        graph = _graph_of(imported, run)
        if graph is not None:
            of_graph[graph.name].append(run)
    graphs = [_merged(graph, of_graph[graph.name], inferences, uses) for graph in imported.graphs]
    return replace(imported, graphs=tuple(graphs), traced=True)


def _graph_of(imported: Imported, run: Sequence[Visit]) -> Graph | None:
    """The graph that has all nodes of a run: the one of the run's name, else the smallest."""
    names = {visit.node for visit in run}
    fitting = [graph for graph in imported.graphs if names <= {node.name for node in graph.nodes}]
    named = [graph for graph in fitting if graph.run_name == run[0].graph_name]
    fitting = named if len(named) == 1 else fitting
    return min(fitting, key=lambda graph: len(graph.nodes), default=None)


def _merged(graph: Graph, runs: list[list[Visit]], inferences: Sequence[Inference], uses: Sequence[Use]) -> Graph:
    taken = _Taken()
    for run in runs:
        _count(graph, run, taken)
    ways = Counter((edge.source, edge.target) for edge in graph.edges if edge.kind in DECIDED)
    edges = [_edge(edge, taken, ways[edge.source, edge.target]) for edge in graph.edges]
    known = {(edge.source, edge.target) for edge in graph.edges}
    edges += [_new_edge(source, target, taken) for source, target in taken.visits if (source, target) not in known]
    visits = [visit for run in runs for visit in run]
    ours = {visit.graph_run for visit in visits}
    calls = [each for each in inferences if each.graph_run in ours]
    nodes = [_node(node, visits, calls, uses) for node in graph.nodes]
    return replace(graph, nodes=tuple(nodes), edges=tuple(edges))


def _count(graph: Graph, run: list[Visit], taken: _Taken) -> None:
    """Superstep by superstep: what followed each node. A node with no edge to a successor took an unknown one only if
    nothing else of its superstep explains that successor."""
    steps: dict[int, list[str]] = defaultdict(list)
    for visit in run:
        steps[visit.step].append(visit.node)
    known = {(edge.source, edge.target) for edge in graph.edges}
    open_nodes = {choice.source for choice in graph.open_choices if choice.any_node}
    before: list[str] = [START]
    for step in sorted(steps):
        _follow(before, Counter(steps[step]), known, open_nodes, taken)
        before = steps[step]
    _follow(before, Counter({END: 1}), known, open_nodes, taken)


def _follow(
    before: Iterable[str], after: Counter[str], known: set[tuple[str, str]], opened: set[str], taken: _Taken
) -> None:
    sources = Counter(before)
    taken.of_node.update(sources)
    for target, items in after.items():
        explained = [source for source in sources if (source, target) in known]
        for source in explained or [source for source in sources if source in opened]:
            taken.visits[source, target] += min(sources[source], items) or 1
            taken.items[source, target] += items


def _edge(edge: Edge, taken: _Taken, ways: int) -> Edge:
    """Visits do not tell by which of several `ways` between two nodes they came: each gets its share."""
    key, times = (edge.source, edge.target), taken.of_node[edge.source]
    if not times:
        return edge
    probability = min(1.0, taken.visits[key] / times) / ways if edge.kind in DECIDED else edge.probability
    return replace(edge, seen=Seen(taken.items[key]), probability=probability)


def _new_edge(source: str, target: str, taken: _Taken) -> Edge:
    key = (source, target)
    chance = min(1.0, taken.visits[key] / taken.of_node[source])
    seen = Seen(taken.items[key])
    return Edge(source, target, EdgeKind.CONDITIONAL, Provenance.OBSERVED, "observed", probability=chance, seen=seen)


def _node(node: Node, visits: Sequence[Visit], inferences: Sequence[Inference], uses: Sequence[Use]) -> Node:
    own = [visit for visit in visits if visit.node == node.name]
    calls = [each for each in inferences if each.node == node.name]
    models = _models(node.models, calls)
    seen = Seen(len(own), seconds=_mean([visit.seconds for visit in own])) if own else None
    return replace(node, seen=seen, models=models, tools=_tools(node.tools, uses))


def _models(models: tuple[Model, ...], calls: Sequence[Inference]) -> tuple[Model, ...]:
    """Calls by name. One that no declared model has belongs to the first model whose name was not known."""
    unknown = list(dict.fromkeys(each.model for each in calls if each.model not in {model.name for model in models}))
    found: list[Model] = []
    for model in models:
        name = unknown.pop(0) if model.name is None and unknown else model.name
        own = [each for each in calls if each.model == name]
        found.append(replace(model, name=name or None, seen=_seen(own)) if own else model)
    for name in unknown:
        seen = _seen([each for each in calls if each.model == name])
        found.append(Model(name or None, "observed", name, provenance=Provenance.OBSERVED, seen=seen))
    return tuple(found)


def _seen(calls: Sequence[Inference]) -> Seen:
    return Seen(
        len(calls),
        _mean([each.input_tokens for each in calls]),
        _mean([each.output_tokens for each in calls]),
        _mean([each.seconds for each in calls]),
    )


def _tools(tools: tuple[Tool, ...], uses: Sequence[Use]) -> tuple[Tool, ...]:
    found: list[Tool] = []
    for tool in tools:
        own = [use.seconds for use in uses if use.tool == tool.name]
        found.append(replace(tool, seen=Seen(len(own), seconds=_mean(own))) if own else tool)
    return tuple(found)


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else 0.0
