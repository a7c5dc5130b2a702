"""What a module needs and a LangGraph program does not say: which catalogue model stands for a model, and sizes."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from weft import catalog
from weft.compiler.frontends.graphs.graph import Graph, Imported, Model
from weft.core.errors import CatalogError, ProgramError

ANY = "*"


@dataclass(frozen=True)
class Assumptions:
    """`models`: a node, a model's name, or `*`, → an id of the catalogue. `width`: items of a fan-out. The sizes hold
    where no trace says better; tokens are means per call, seconds those of one server core."""

    models: Mapping[str, str] = field(default_factory=dict[str, str])
    width: float = 3.0
    isl: int = 1000
    osl: int = 200
    max_tokens: int = 1024
    python_core_s: float = 1e-3
    tool_core_s: float = 2e-3
    router_core_s: float = 1e-4


def known_model(model: Model, node: str, assumptions: Assumptions) -> str | None:
    """The catalogue's id: what the user said of this node or this model, or the model's own name if it is known."""
    name = model.name or ""
    bare = name.rpartition(":")[2]
    for key in (node, name, bare, bare.rpartition("/")[2], ANY):
        if key and key in assumptions.models:
            return catalog.model(assumptions.models[key]).id
    try:
        return catalog.model(bare).id if bare else None
    except CatalogError:
        return None


def check_models(imported: Imported, graphs: tuple[Graph, ...], assumptions: Assumptions) -> None:
    """Refuses once for all models that no catalogue entry stands for."""
    unknown: dict[str, list[str]] = {}
    for node in (node for graph in graphs for node in graph.nodes):
        for model in node.models:
            if known_model(model, node.name, assumptions) is None:
                unknown.setdefault(model.name or node.name, []).append(node.name)
    if not unknown:
        return
    told = "; ".join(f"{name} (node {', '.join(dict.fromkeys(nodes))})" for name, nodes in unknown.items())
    key = next(iter(unknown))
    raise ProgramError(
        subject=imported.program,
        problem=f"calls models that are not in the catalogue: {told}",
        way_out=f"say what stands for each: --model '{key}=llama-3.3-70b', or for all: --model '*=llama-3.1-8b'",
    )
