# pyright: standard
"""Imports of what is not there: modules and names that a program needs and this machine lacks become stand-ins, and
each is reported. Only imports written in the program itself count; libraries find out the truth.
"""

import ast
import builtins
import importlib.machinery
import importlib.util
import linecache
import sys
import types
from collections.abc import Callable, Sequence
from functools import lru_cache
from importlib.abc import Loader, MetaPathFinder
from pathlib import Path
from typing import Any

from weft.compiler.frontends.graphs.graph import Stubbed
from weft.compiler.frontends.langgraph import legacy
from weft.compiler.frontends.langgraph.stub_langchain import StubModule, make

_MACHINERY = ("importlib", "<frozen importlib", "weft/compiler/frontends/langgraph")
_INSTALLERS = ("langchain/chat_models/base.py", "langchain/embeddings/base.py", "langchain_classic")
"""Files of libraries that import on behalf of the program: `init_chat_model("openai:gpt-4o")`."""


class StubFinder(MetaPathFinder, Loader):
    """The last finder on sys.meta_path: what comes here is not installed."""

    def __init__(self, is_program: Callable[[str], bool], in_try: bool) -> None:
        self._is_program = is_program
        self._in_try = in_try
        self._probing = False
        self.stubbed: dict[str, Stubbed] = {}

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: types.ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if self._probing:
            return None
        parent = sys.modules.get(fullname.rpartition(".")[0])
        if isinstance(parent, StubModule):
            return importlib.machinery.ModuleSpec(fullname, self, is_package=True)
        frame = importing_frame()
        if frame is None or not self._may_stub(frame):
            return None
        where = f"{frame.f_code.co_filename}:{frame.f_lineno}"
        self._report(fullname.split(".")[0] if parent is None else fullname, where, "not installed")
        return importlib.machinery.ModuleSpec(fullname, self, is_package=True)

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> types.ModuleType:
        return legacy.module(spec.name) or StubModule(spec.name)

    def exec_module(self, module: types.ModuleType) -> None: ...

    def _may_stub(self, frame: types.FrameType) -> bool:
        path = frame.f_code.co_filename
        if path.replace("\\", "/").endswith(_INSTALLERS):
            return True
        return self._is_program(path) and (self._in_try or not guarded(path, frame.f_lineno))

    def _report(self, name: str, where: str, reason: str) -> None:
        self.stubbed.setdefault(name, Stubbed(name, where, reason))

    def importer(self) -> Callable[..., Any]:
        """`builtins.__import__` that also gives stand-ins for names which an installed module has no more."""
        original = builtins.__import__

        def weft_import(
            name: str, globals: Any = None, locals: Any = None, fromlist: Sequence[str] | None = (), level: int = 0
        ) -> Any:
            path = (globals or {}).get("__file__") or ""
            if level or not fromlist or not path or not self._is_program(path):
                return original(name, globals, locals, fromlist or (), level)
            original(name, globals, locals, (), 0)
            module = sys.modules[name]
            missing = [] if self._is_own(module) else [each for each in fromlist if not self._has(module, each)]
            present = tuple(each for each in fromlist if each not in missing)
            module = original(name, globals, locals, present, 0) if present else module
            return self._completed(module, missing) if missing else module

        return weft_import

    def _has(self, module: types.ModuleType, name: str) -> bool:
        if name == "*" or hasattr(module, name):
            return True
        if not hasattr(module, "__path__"):
            return False
        self._probing = True
        try:
            return importlib.util.find_spec(f"{module.__name__}.{name}") is not None
        except (ImportError, ValueError):
            return False
        finally:
            self._probing = False

    def _is_own(self, module: Any) -> bool:
        path = getattr(module, "__file__", None)
        return isinstance(module, StubModule) or (path is not None and self._is_program(path))

    def _completed(self, module: types.ModuleType, missing: list[str]) -> types.ModuleType:
        """A copy of `module` with the missing names; the module itself stays as it is."""
        frame = importing_frame()
        where = f"{frame.f_code.co_filename}:{frame.f_lineno}" if frame else ""
        if frame and not self._in_try and guarded(frame.f_code.co_filename, frame.f_lineno):
            return module
        copy = types.ModuleType(module.__name__)
        copy.__dict__.update(module.__dict__)
        for name in missing:
            known = legacy.today_name(module.__name__, name)
            setattr(copy, name, known or make(module.__name__, name))
            reason = "moved: today's equivalent is used" if known else "not in the installed version"
            self._report(f"{module.__name__}.{name}", where, reason)
        return copy


def importing_frame() -> types.FrameType | None:
    """The frame whose import statement is being carried out."""
    frame = sys._getframe(1)
    while frame is not None:
        path = frame.f_code.co_filename.replace("\\", "/")
        if not any(each in path for each in _MACHINERY) or path.endswith("/site-packages"):
            return frame
        frame = frame.f_back
    return None


def guarded(path: str, line: int) -> bool:
    """Whether the import in this line stands in a `try` that catches ImportError, or under TYPE_CHECKING."""
    return any(begin <= line <= end for begin, end in _guarded_lines(path))


@lru_cache(maxsize=256)
def _guarded_lines(path: str) -> list[tuple[int, int]]:
    try:
        tree = ast.parse("".join(linecache.getlines(path)))
    except SyntaxError:
        return []
    tries = [each for each in ast.walk(tree) if isinstance(each, ast.Try) and any(map(_catches, each.handlers))]
    return [(each.body[0].lineno, each.body[-1].end_lineno or each.body[-1].lineno) for each in tries]


def _catches(handler: ast.ExceptHandler) -> bool:
    caught = ast.unparse(handler.type) if handler.type else "Exception"
    return any(name in caught for name in ("ImportError", "ModuleNotFoundError", "Exception"))


def program_files(roots: Sequence[Path]) -> Callable[[str], bool]:
    """Whether a file belongs to the program: under its roots, in no environment of installed packages."""
    prefixes = tuple(str(root.resolve()) for root in roots)
    ours = str(Path(__file__).resolve().parents[3])

    @lru_cache(maxsize=4096)
    def inside(path: str) -> bool:
        if not Path(path).is_file():  # code of no file, or of one that was there when a library was built
            return False
        resolved = str(Path(path).resolve())
        if resolved.startswith(ours) or "site-packages" in resolved or "dist-packages" in resolved:
            return False
        return resolved.startswith(prefixes)

    return inside
