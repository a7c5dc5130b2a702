"""Tables of an imported program: nodes with where they go, and what was in the way."""

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from weft.compiler.frontends.graphs.coverage import GraphCoverage, coverage
from weft.compiler.frontends.graphs.graph import END, START, Edge, Graph, Imported, Node, OpenChoice, Provenance


def show_import(imported: Imported, console: Console) -> None:
    for graph in imported.graphs:
        console.print(_graph_table(graph, graph.name in imported.roots))
    console.print(_coverage_table(coverage(imported)))
    for graph, sentence in [(each.graph, text) for each in coverage(imported) for text in each.opaque]:
        console.print(f"opaque   {escape(graph)} · {escape(sentence)}", highlight=False)
    for stub in imported.stubbed:
        console.print(f"stand-in {escape(stub.name)} ({escape(stub.reason)}; {escape(stub.where)})", style="dim")
    for note in imported.notes:
        console.print(f"note     {escape(note)}", style="dim")


def _graph_table(graph: Graph, root: bool) -> Table:
    notes = [
        graph.style,
        "" if root else "inner graph",
        f"checkpoints: {graph.checkpointer}" if graph.checkpointer else "",
    ]
    table = Table(
        title=f"{escape(graph.name)}  [dim]{' · '.join(each for each in notes if each)}[/]", title_justify="left"
    )
    for column in ("node", "kind", "holds", "goes to"):
        table.add_column(column, overflow="fold")
    if any(edge.source == START for edge in graph.edges) or any(
        choice.source == START for choice in graph.open_choices
    ):
        table.add_row("START", "", "", _leads(graph, START))
    for node in graph.nodes:
        table.add_row(escape(node.name), str(node.kind), escape(_holds(node)), _leads(graph, node.name))
    return table


def _holds(node: Node) -> str:
    models = [f"{model.name or '?'}{' with ' + ', '.join(model.tools) if model.tools else ''}" for model in node.models]
    parts = [*models, *([f"tools {', '.join(tool.name for tool in node.tools)}"] if node.tools else [])]
    parts += [f"graph {name}" for name in node.subgraphs]
    parts += [f"waits for a person ({', '.join(node.interrupts)})"] if node.interrupts else []
    parts += [f"{policy.max_attempts} attempts" for policy in node.retries]
    parts += ["deferred"] if node.defer else []
    if node.seen and node.seen.count:
        parts.append(f"seen {node.seen.count}×, {node.seen.seconds:.3g} s")
    return "; ".join(parts)


def _leads(graph: Graph, name: str) -> str:
    edges = [_edge(edge) for edge in graph.edges if edge.source == name]
    choices = [_choice(choice) for choice in graph.open_choices if choice.source == name]
    return "\n".join([*edges, *choices])


def _edge(edge: Edge) -> str:
    target = "END" if edge.target == END else edge.target
    words = [str(edge.kind), *(["for each"] if edge.fan_out else []), *([repr(edge.label)] if edge.label else [])]
    words += ["" if edge.provenance is Provenance.DECLARED else str(edge.provenance)]
    words += [f"{edge.probability:.0%}"] if edge.probability is not None else []
    return f"{escape(target)} [dim]{escape(', '.join(word for word in words if word))}[/]"


def _choice(choice: OpenChoice) -> str:
    where = "any node" if choice.any_node else "as its source says"
    return f"[yellow]open choice[/] [dim]{escape(choice.router)}: {where}[/]"


def _coverage_table(rows: tuple[GraphCoverage, ...]) -> Table:
    table = Table(title="Coverage", title_justify="left")
    for column in (
        "graph",
        "nodes",
        "edges",
        "assumed",
        "observed",
        "open",
        "models",
        "tools",
        "subgraphs",
        "interrupts",
    ):
        table.add_column(column, justify="left" if column == "graph" else "right")
    for row in rows:
        opened = f"{row.open_choices}" + (f" + {row.narrowed_choices} narrowed" if row.narrowed_choices else "")
        models = f"{row.models}" + (f" ({row.unnamed_models} unnamed)" if row.unnamed_models else "")
        counts = (sum(row.nodes.values()), sum(row.edges.values()), row.provenance.get("assumed", 0))
        more = (row.provenance.get("observed", 0), opened, models, row.tools, row.subgraphs, row.interrupts)
        table.add_row(escape(row.graph), *(str(each) for each in (*counts, *more)))
    return table
