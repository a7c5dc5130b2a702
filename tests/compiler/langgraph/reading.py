"""Ways to read a graph in a test: in this process from its builder, or as `weft import langgraph` does it."""

from pathlib import Path
from typing import Any

from weft.compiler.frontends.graphs.graph import Graph, Imported, OpenChoice
from weft.compiler.frontends.langgraph.load import import_langgraph
from weft.compiler.frontends.langgraph.read_graph import GraphReader

HERE = Path(__file__).parent


def read_here(graph: Any, name: str = "graph") -> Imported:
    """No child process: for graphs that the test itself builds."""
    reader = GraphReader(lambda path: Path(path).parent == HERE, HERE)
    root = reader.read(graph, name)
    return Imported("test", (root,), tuple(reader.graphs.values()))


def import_text(tmp_path: Path, text: str, variable: str = "", name: str = "program.py", trace: str = "") -> Imported:
    path = tmp_path / name
    path.write_text(text)
    return import_langgraph(f"{path}:{variable}" if variable else str(path), trace=trace)


def edges(graph: Graph) -> set[tuple[str, str, str]]:
    short = {"__start__": "START", "__end__": "END"}
    return {(short.get(e.source, e.source), short.get(e.target, e.target), str(e.kind)) for e in graph.edges}


def choice(graph: Graph, source: str) -> OpenChoice | None:
    return next((each for each in graph.open_choices if each.source == source), None)
