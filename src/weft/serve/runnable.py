"""Which steps of a plan no node could run, and why: said when it is planned, refused before a node is started."""

import ast
import importlib.util
from collections.abc import Iterator, Set
from dataclasses import dataclass
from pathlib import Path

from weft.core.deployment import Deployment
from weft.core.errors import DeploymentError
from weft.core.program import THEN, Step, StepKind
from weft.runtime.functions import source_file
from weft.runtime.memory.memories import CONVERSATION
from weft.runtime.services import PYTHON_KINDS
from weft.runtime.steps.glue import GLUE
from weft.serve.placement import LocalModels
from weft.serve.tools import calls_tool, memory_of, served_model


@dataclass(frozen=True, slots=True)
class NotRunnable:
    step: str
    reason: str
    way_out: str


def not_runnable(deployment: Deployment) -> tuple[NotRunnable, ...]:
    """By the program and the file that it came from; nothing of it is run."""
    names = _names_of(source_file(deployment.source))
    return tuple(found for step in deployment.program.steps for found in _reasons(step, names))


def refuse_not_runnable(deployment: Deployment, models: LocalModels) -> None:
    """Raises DeploymentError, which names the steps: also those that were given no memory or model."""
    missing = (each for step in deployment.program.steps for each in _missing(step, models))
    found = (*not_runnable(deployment), *missing, *_moved(deployment, models))
    if found:
        reasons = "; ".join(f"step {each.step!r} {each.reason}" for each in found)
        way_outs = ", or ".join(dict.fromkeys(each.way_out for each in found))
        raise DeploymentError(
            subject=f"agent {deployment.agent!r}", problem=f"does not run: {reasons}", way_out=way_outs
        )


def _moved(deployment: Deployment, models: LocalModels) -> Iterator[NotRunnable]:
    """A server's cache cannot move."""
    steps = deployment.program.steps
    begun = {output for step in steps if served_model(step) in models.remotes for output in step.outputs}
    for step in steps:
        if step.kind is StepKind.KV_TRANSFER and begun & set(step.inputs):
            reason = "moves the cache of a model that a server runs"
            yield NotRunnable(step.name, reason, "plan prefill and decode on one pool, or run the model here")


def _missing(step: Step, models: LocalModels) -> Iterator[NotRunnable]:
    name = memory_of(step)
    if name is not None and name not in models.memories:
        way_out = f"give --memory {name}=ADDRESS (a file, .sqlite for a conversation, or a vector store's address)"
        yield NotRunnable(step.name, f"needs the memory {name!r}, which has no address", way_out)
    by_meaning = name is not None and not models.memories.get(name, "").endswith(CONVERSATION)
    embeds = step.kind is StepKind.EMBED or (by_meaning and step.kind is not StepKind.MEMORY_SEARCH)
    if embeds and models.embed_dir is None:  # a search may be given a vector: only its node can tell
        yield NotRunnable(step.name, "needs an embedding model", "give --embed FOLDER")


def _reasons(step: Step, names: Set[str] | None) -> Iterator[NotRunnable]:
    if step.kind in PYTHON_KINDS:
        for function in str(step.attributes.get("function")).split(THEN):
            if function not in GLUE and (names is None or function not in names):
                yield NotRunnable(
                    step.name, f"calls {function!r}, {_where(names)}", "write it in the agent's own .py file"
                )
    if calls_tool(step) and "mcp" not in step.attributes:
        yield from _tool_reasons(step, names)


def _tool_reasons(step: Step, names: Set[str] | None) -> Iterator[NotRunnable]:
    tool, entry = str(step.attributes.get("tool")), str(step.attributes.get("entry", ""))
    way_out = f'give the tool {tool!r} entry = "path.py:function", mcp = "server", or a corpus'
    if entry:
        place, _, name = entry.rpartition(":")
        if not _exists(place, name):
            yield NotRunnable(step.name, f"calls the tool {entry!r}, which is not there", way_out)
    elif names is None or tool not in names:
        yield NotRunnable(step.name, f"calls the tool {tool!r}, {_where(names)}", way_out)


def _exists(place: str, name: str) -> bool:
    if place.endswith(".py"):
        return name in (_names_of(Path(place)) or ())
    try:
        return bool(place) and importlib.util.find_spec(place.partition(".")[0]) is not None
    except (ImportError, ValueError):
        return False


def _where(names: Set[str] | None) -> str:
    return "and its program is no Python file of its own" if names is None else "which its file does not define"


def _names_of(path: Path) -> frozenset[str] | None:
    """What a file defines or imports at its top, read and not run. None: it is no Python file."""
    try:
        tree = ast.parse(path.read_bytes()) if path.suffix == ".py" else None
    except (OSError, SyntaxError, ValueError):
        return None
    return None if tree is None else frozenset(name for each in tree.body for name in _defined(each))


def _defined(statement: ast.stmt) -> Iterator[str]:
    match statement:
        case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
            yield name
        case ast.Import(names=names) | ast.ImportFrom(names=names):
            yield from (each.asname or each.name for each in names)
        case _:
            stores = (each for each in ast.walk(statement) if isinstance(each, ast.Name))
            yield from (each.id for each in stores if isinstance(each.ctx, ast.Store))
