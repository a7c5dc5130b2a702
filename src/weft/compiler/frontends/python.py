"""`weft.agent` programs: the source of an `@agent` function becomes an MLIR control-flow graph.

The function is read, never run. Assignments become SSA values; `while repeat(…)` becomes a header block whose arguments
are the variables that the loop changes; `if branch(…)` becomes two blocks that meet again.
"""

import ast
import importlib.util
import inspect
import sys
import textwrap
from pathlib import Path
from types import ModuleType
from typing import Any

from xdsl.dialects.builtin import ModuleOp, StringAttr

from weft.agent import Agent
from weft.compiler.frontends.python_builder import GraphBuilder
from weft.core.errors import ProgramError


def load_agent(reference: str) -> Agent[Any, Any]:
    """`path/to/file.py` (holding one agent) or `path/to/file.py:name`."""
    path_text, _, name = reference.partition(":")
    module = _load_module(Path(path_text))
    agents: dict[str, Agent[Any, Any]] = {key: each for key, each in vars(module).items() if isinstance(each, Agent)}
    if name and name not in agents:
        raise _no_agent(path_text, f"has no agent {name!r}", f"name one of {sorted(agents)}")
    if not name and len(agents) != 1:
        raise _no_agent(path_text, f"holds {len(agents)} agents, 1 is needed", f"write {path_text}:NAME")
    return agents[name] if name else next(iter(agents.values()))


def import_agent(program: Agent[Any, Any], reference: str) -> ModuleOp:
    """The agent as `builtin.module { func.func @name {agent.graph} }`, not yet verified. It keeps its `reference`."""
    function = program.function
    path = Path(inspect.getsourcefile(function) or "<unknown>")
    lines, first_line = inspect.getsourcelines(function)
    tree = ast.parse(textwrap.dedent("".join(lines)))
    ast.increment_lineno(tree, first_line - 1)
    definition = tree.body[0]
    assert isinstance(definition, ast.FunctionDef)
    scope = {**function.__globals__, **inspect.getclosurevars(function).nonlocals}
    graph = GraphBuilder(str(path), scope).build(definition, inspect.get_annotations(function, eval_str=True))
    graph.attributes["agent.source"] = StringAttr(reference)
    return ModuleOp([graph])


def _load_module(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None or not path.is_file():
        raise _no_agent(
            str(path), "is not a Python file", "give the path of an agent program, as file.py or file.py:name"
        )
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    try:
        spec.loader.exec_module(module)
    except SyntaxError as error:
        raise _no_agent(f"{path}:{error.lineno}", f"does not parse: {error.msg}", "mend the line") from error
    except ImportError as error:
        raise _no_agent(
            str(path), f"cannot be imported: {error}", "install what it needs or mend the import"
        ) from error
    return module


def _no_agent(subject: str, problem: str, way_out: str) -> ProgramError:
    return ProgramError(subject=subject, problem=problem, way_out=way_out)
