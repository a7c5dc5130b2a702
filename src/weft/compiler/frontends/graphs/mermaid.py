"""A program's graphs as one Mermaid flowchart: subgraphs nested, each kind of edge drawn its own way."""

from collections.abc import Iterator

from weft.compiler.frontends.graphs.graph import END, START, Edge, EdgeKind, Graph, Imported, Node, NodeKind

_ARROWS = {
    EdgeKind.DIRECT: "-->",
    EdgeKind.JOIN: "-->",
    EdgeKind.CONDITIONAL: "-.->",
    EdgeKind.SEND: "==>",
    EdgeKind.COMMAND: "-.->",
    EdgeKind.CALL: "---",
    EdgeKind.ERROR: "--x",
}
_SHAPES = {
    NodeKind.MODEL: ("(", ")"),
    NodeKind.TOOLS: ("[[", "]]"),
    NodeKind.OPAQUE: ("[/", "/]"),
    NodeKind.TASK: ("([", "])"),
}


def to_mermaid(imported: Imported) -> str:
    lines = ["flowchart TD"]
    for root in imported.roots:
        lines += _graph(imported, imported.graph(root), root, 1, (root,))
    return "\n".join(lines) + "\n"


def _graph(imported: Imported, graph: Graph, path: str, depth: int, above: tuple[str, ...]) -> Iterator[str]:
    pad = "  " * depth
    yield f'{pad}subgraph {_id(path)}["{_text(graph.name)}"]'
    named = {START, END} & {name for edge in graph.edges for name in (edge.source, edge.target)}
    for name in sorted(named, reverse=True):
        yield f'{pad}  {_id(path, name)}(("{"start" if name == START else "end"}"))'
    for node in graph.nodes:
        yield from _node(imported, node, path, depth + 1, above)
    for edge in graph.edges:
        yield f"{pad}  {_id(path, edge.source)} {_arrow(edge)} {_id(path, edge.target)}"
    for number, choice in enumerate(choice for choice in graph.open_choices if choice.any_node):
        target = _id(path, f"any{number}")
        yield f'{pad}  {_id(path, choice.source)} -.->|"{_text(choice.router or "?")}"| {target}{{{{"any node"}}}}'
    yield f"{pad}end"


def _node(imported: Imported, node: Node, path: str, depth: int, above: tuple[str, ...]) -> Iterator[str]:
    begin, end = _SHAPES.get(node.kind, ("[", "]"))
    details = [model.name or "model chosen at run time" for model in node.models] + [tool.name for tool in node.tools]
    label = "<br/>".join([node.name, *details, *(f"interrupt {when}" for when in node.interrupts)])
    yield f'{"  " * depth}{_id(path, node.name)}{begin}"{_text(label)}"{end}'
    for inner in dict.fromkeys([*node.subgraphs, *(agent for tool in node.tools for agent in tool.agents)]):
        if inner not in above:
            below = f"{path}/{node.name}/{inner}"
            yield from _graph(imported, imported.graph(inner), below, depth, (*above, inner))
            yield f"{'  ' * depth}{_id(path, node.name)} --- {_id(below)}"


def _arrow(edge: Edge) -> str:
    words = [edge.label or (edge.router if edge.kind is EdgeKind.CONDITIONAL else "")]
    words += ["for each"] if edge.fan_out else []
    words += ["all of" if edge.kind is EdgeKind.JOIN else "", f"{edge.probability:.0%}" if edge.probability else ""]
    label = ", ".join(word for word in words if word)
    return f'{_ARROWS[edge.kind]}|"{_text(label)}"|' if label else _ARROWS[edge.kind]


def _id(path: str, name: str = "") -> str:
    """Mermaid ids take letters and digits; different names stay different."""
    return "n" + "".join(each if each.isalnum() and each.isascii() else f"_{ord(each):x}_" for each in f"{path}.{name}")


def _text(text: str) -> str:
    return text.replace('"', "#quot;").replace("\n", " ")
