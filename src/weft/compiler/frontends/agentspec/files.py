"""Agent Spec files in and out. `pyagentspec` is an extra: imported when it is needed, missed in one sentence."""

from importlib.util import find_spec
from pathlib import Path

from xdsl.dialects.builtin import ModuleOp

from weft.compiler.frontends.graphs.graph import Imported
from weft.core.errors import InputError, MissingProgramError


def import_agentspec(path: Path) -> Imported:
    """The flow, agent or swarm in a YAML or JSON file."""
    _check()
    from weft.compiler.frontends.agentspec.read import read_component

    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            subject=str(path), problem=f"cannot be read: {error}", way_out="give a YAML or JSON file"
        ) from error
    return read_component(text, path)


def export_agentspec(module: ModuleOp, json: bool) -> tuple[str, tuple[str, ...]]:
    """A module as the text of a Flow, and sentences on what Agent Spec has no words for."""
    _check()
    from weft.compiler.frontends.agentspec.write import write_flow

    return write_flow(module, json)


def _check() -> None:
    if find_spec("pyagentspec") is None:
        raise MissingProgramError(
            subject="pyagentspec", problem="is not installed", way_out="pip install 'weft[agentspec]'"
        )
