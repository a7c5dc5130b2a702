# pyright: standard
"""A LangGraph program as a module of this process, and the graph that it is asked for."""

import importlib.util
import sys
from pathlib import Path
from typing import Any

from weft.core.errors import ProgramError


def load_graph(reference: str, name: str = "") -> Any:
    """The graph of `file.py:variable`, of the name that it was planned under, or the only one."""
    from langgraph.graph import StateGraph
    from langgraph.pregel import Pregel

    path, variable = _split(reference)
    module = _module(path)
    graphs = {key: each for key, each in vars(module).items() if isinstance(each, Pregel)}
    wanted = variable or (name if name in graphs else "")
    if wanted:
        found = eval(wanted, vars(module)) if "(" in wanted else getattr(module, wanted, None)
        found = found.compile() if isinstance(found, StateGraph) else found
    else:
        found = next(iter(graphs.values())) if len(graphs) == 1 else None
    if not isinstance(found, Pregel):
        names = ", ".join(graphs) or "none"
        raise ProgramError(
            subject=reference, problem=f"has no one graph to run (it holds {names})", way_out="name it: file.py:graph"
        )
    return found


def _split(reference: str) -> tuple[Path, str]:
    file, colon, variable = reference.partition(".py:")
    return Path(f"{file}.py" if colon else reference), variable


def _module(path: Path) -> Any:
    """Its own folder and its repository's are where it imports from, as where it is started."""
    sys.path[:0] = [str(path.parent), str(Path.cwd())]
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None or not path.is_file():
        raise ProgramError(subject=str(path), problem="is not a Python file", way_out="give file.py[:graph]")
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    try:
        spec.loader.exec_module(module)
    except ModuleNotFoundError as error:
        problem = f"needs {error.name}, which is not installed"
        raise ProgramError(subject=str(path), problem=problem, way_out=f"pip install {error.name}") from error
    except Exception as error:
        problem = f"fails when it is loaded: {type(error).__name__}: {error}"
        raise ProgramError(subject=str(path), problem=problem, way_out="run it with python first") from error
    return module
