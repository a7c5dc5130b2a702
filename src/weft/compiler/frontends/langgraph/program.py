# pyright: standard
"""A file of Python, or a notebook, as a module: the folders it may import from, its name, and its run."""

import ast
import asyncio
import importlib.util
import inspect
import json
import sys
import traceback
import types
from pathlib import Path

from weft.compiler.frontends.langgraph import stubs
from weft.compiler.frontends.langgraph.layout import base_of
from weft.core.errors import ProgramError

_TAKEN = {*sys.stdlib_module_names, "langgraph", "langchain", "weft"}
_BUILDING = {"add_node", "add_edge", "add_conditional_edges", "add_sequence", "set_entry_point", "set_finish_point"}
PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"


def run(path: Path, folder: Path, as_main: bool = False) -> types.ModuleType:
    """Executes the file as the module that its package makes of it. On an error the half-made module stays in
    sys.modules, so that what was built before can be read. A notebook's code is written to `folder` first."""
    if path.suffix == ".ipynb":
        return _run_notebook(path, folder)
    name = "__main__" if as_main else module_name(path)
    for parent in _parents(name):
        _import_parent(parent, path)
    if not as_main and name in sys.modules:  # the package's __init__ has imported it
        return sys.modules[name]
    return _execute(name, path, [str(path.parent)] if path.name == "__init__.py" else None)


def _execute(name: str, path: Path, folders: list[str] | None = None) -> types.ModuleType:
    spec = importlib.util.spec_from_file_location(name, path, submodule_search_locations=folders)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def _run_notebook(path: Path, folder: Path) -> types.ModuleType:
    """Notebooks may `await` at top level."""
    text = _code_of_notebook(path)
    script = folder / f"{path.stem}.py"
    script.write_text(text, encoding="utf-8")
    module = types.ModuleType(module_name(path))
    module.__file__ = str(script)
    sys.modules[module.__name__] = module
    execute(compile(text, str(script), "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT), module)
    return module


def rest_after(error: BaseException, module: types.ModuleType) -> types.CodeType | None:
    """What follows the statement of `module` that failed, names that it would have bound being stand-ins from there
    on. None where it was building a graph, or ended the program: then there is no going on."""
    file = str(module.__file__)
    lines = [each.lineno for each in traceback.extract_tb(error.__traceback__) if _top_level(each, file)]
    if not lines or not isinstance(error, Exception):
        return None
    body = ast.parse(Path(file).read_text(encoding="utf-8")).body
    at = next(at for at, each in enumerate(body) if lines[-1] <= (each.end_lineno or each.lineno))
    nodes = list(ast.walk(body[at]))
    if any(isinstance(each, ast.Attribute) and each.attr in _BUILDING for each in nodes):
        return None
    for each in nodes:
        if isinstance(each, ast.Name) and isinstance(each.ctx, ast.Store):
            vars(module).setdefault(each.id, stubs.value(each.id))
    rest = ast.Module(body[at + 1 :], [])
    return compile(rest, file, "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT) if rest.body else None


def _top_level(frame: traceback.FrameSummary, file: str) -> bool:
    return frame.filename == file and frame.name == "<module>"


def execute(code: types.CodeType, module: types.ModuleType) -> None:
    """Code of a module's top level, which may `await`."""
    result = eval(code, module.__dict__)
    if inspect.iscoroutine(result):
        asyncio.run(result)


def module_name(path: Path) -> str:
    parts = list(path.relative_to(base_of(path)).with_suffix("").parts)
    if parts[-1] == "__init__":
        parts.pop()
    name = ".".join(parts) if len(parts) > 1 else parts[0].replace("-", "_").replace(" ", "_").replace(".", "_")
    return f"{name}_program" if name in _TAKEN else name


def check_syntax(path: Path) -> None:
    """One clear error with file and line for a program that does not parse."""
    try:
        text = _code_of_notebook(path) if path.suffix == ".ipynb" else path.read_text(encoding="utf-8")
        compile(text, str(path), "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT | ast.PyCF_ONLY_AST)
    except SyntaxError as error:
        raise ProgramError(
            subject=f"{path}:{error.lineno}",
            problem=f"does not parse: {error.msg}",
            way_out=f"mend the line, or run weft under the Python it is written for (this is {PYTHON})",
        ) from error
    except (OSError, UnicodeDecodeError, ValueError) as error:
        raise ProgramError(
            subject=str(path), problem=f"cannot be read: {error}", way_out="give a Python file or a notebook"
        ) from error


def _parents(name: str) -> list[str]:
    parts = name.split(".")
    return [".".join(parts[:end]) for end in range(1, len(parts))]


def _import_parent(name: str, path: Path) -> None:
    """A package around the file; where it has no __init__.py, an empty one."""
    if name in sys.modules:
        return
    depth = len(module_name(path).split(".")) - len(name.split("."))
    folder = path.parents[depth - 1]
    initial = folder / "__init__.py"
    if not initial.exists():
        module = types.ModuleType(name)
        module.__path__ = [str(folder)]
        sys.modules[name] = module
        return
    _execute(name, initial, [str(folder)])


def _code_of_notebook(path: Path) -> str:
    """The code cells one after the other; shell and magic lines become comments."""
    cells = json.loads(path.read_text(encoding="utf-8")).get("cells", [])
    texts = ["".join(cell.get("source", [])) for cell in cells if cell.get("cell_type") == "code"]
    return "\n\n".join(_without_magic(text) for text in texts) + "\n"


def _without_magic(cell: str) -> str:
    if cell.lstrip().startswith("%%") and not cell.lstrip().startswith(("%%time", "%%capture")):
        return ""
    lines = []
    for line in cell.splitlines():
        stripped = line.lstrip()
        magic = stripped.startswith(("!", "%", "?")) or stripped.endswith("?")
        lines.append(line[: len(line) - len(stripped)] + "pass  # " + stripped if magic else line)
    return "\n".join(lines)
