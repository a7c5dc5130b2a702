"""Tools that run agents (supervisor-as-tool) as nodes of their own, so that a tool node is a choice among them."""

from dataclasses import replace

from weft.compiler.frontends.graphs.graph import Edge, EdgeKind, Graph, Imported, Node, NodeKind, Provenance, Tool

ROUTER = "which tool"


def split_agent_tools(imported: Imported) -> Imported:
    return replace(imported, graphs=tuple(_split(graph) for graph in imported.graphs))


def _split(graph: Graph) -> Graph:
    """`tools` becomes a choice between `tools.tools`, the plain ones, and a node for each tool that runs an agent."""
    nodes: list[Node] = []
    edges = list(graph.edges)
    for node in graph.nodes:
        agents = [tool for tool in node.tools if tool.agents]
        if not agents:
            nodes.append(node)
            continue
        plain = tuple(tool for tool in node.tools if not tool.agents)
        parts = [_agent_node(node, tool) for tool in agents]
        parts += [replace(node, name=f"{node.name}.tools", tools=plain, subgraphs=())] if plain else []
        nodes += [Node(node.name, NodeKind.PYTHON, interrupts=node.interrupts), *parts]
        edges = _rewired(edges, node.name, parts)
    return replace(graph, nodes=tuple(nodes), edges=tuple(edges))


def _agent_node(node: Node, tool: Tool) -> Node:
    return Node(f"{node.name}.{tool.name}", NodeKind.SUBGRAPH, subgraphs=tool.agents)


def _rewired(edges: list[Edge], name: str, parts: list[Node]) -> list[Edge]:
    """What left the node leaves each of its parts; the node itself only chooses."""
    kept = [edge for edge in edges if edge.source != name]
    choices = [Edge(name, part.name, EdgeKind.CONDITIONAL, Provenance.ASSUMED, ROUTER) for part in parts]
    moved = [
        replace(edge, source=part.name, join=tuple(part.name if each == name else each for each in edge.join))
        for edge in edges
        if edge.source == name
        for part in parts
    ]
    return [*kept, *choices, *moved]
