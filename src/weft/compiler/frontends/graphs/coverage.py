"""What an import found and what stays opaque, counted: the plain-data answer to "did it miss anything?"."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from weft.compiler.frontends.graphs.graph import Graph, Imported


@dataclass(frozen=True, slots=True)
class GraphCoverage:
    """Counts of one graph. `opaque` are sentences, each a thing that only a run, or an installed module, can tell."""

    graph: str
    nodes: Mapping[str, int]
    edges: Mapping[str, int]
    provenance: Mapping[str, int]
    open_choices: int
    narrowed_choices: int
    models: int
    unnamed_models: int
    tools: int
    subgraphs: int
    interrupts: int
    opaque: tuple[str, ...]


def coverage(imported: Imported) -> tuple[GraphCoverage, ...]:
    return tuple(_of(graph) for graph in imported.graphs)


def _of(graph: Graph) -> GraphCoverage:
    models = [model for node in graph.nodes for model in node.models]
    return GraphCoverage(
        graph=graph.name,
        nodes=Counter(str(node.kind) for node in graph.nodes),
        edges=Counter(str(edge.kind) for edge in graph.edges),
        provenance=Counter(str(edge.provenance) for edge in graph.edges),
        open_choices=sum(choice.any_node for choice in graph.open_choices),
        narrowed_choices=sum(not choice.any_node for choice in graph.open_choices),
        models=len({(model.name, model.provider) for model in models}),
        unnamed_models=sum(model.name is None for model in models),
        tools=len({tool.name for node in graph.nodes for tool in node.tools}),
        subgraphs=len({inner for node in graph.nodes for inner in node.subgraphs}),
        interrupts=sum(bool(node.interrupts) for node in graph.nodes),
        opaque=tuple(_opaque(graph)),
    )


def _opaque(graph: Graph) -> list[str]:
    nodes = [f"{node.name}: {reason}" for node in graph.nodes for reason in node.opaque]
    models = [
        f"{node.name}: the model is chosen at run time ({model.expression})"
        for node in graph.nodes
        for model in node.models
        if model.name is None
    ]
    choices = [
        f"{choice.source}: {choice.router or 'its code'} may go to any node ({choice.reason or 'no targets declared'})"
        for choice in graph.open_choices
        if choice.any_node
    ]
    return [*nodes, *models, *choices]
