"""A Python function → its syntax tree and the values of the names in it. The function is read, not run."""

import ast
import builtins
import functools
import importlib
import importlib.util
import inspect
import linecache
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from types import CodeType, FunctionType, MethodType, ModuleType
from typing import Any

from weft.compiler.frontends.langgraph.stubs import is_stub

FunctionNode = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda
MISSING = object()
Passed = tuple[tuple[object, ...], Mapping[str, object]]


@dataclass(frozen=True)
class Source:
    """One function: `node` is its tree, `values` the names that its code can see, `owner` the object of a method
    (its class where the object is made at run time), `passed` the arguments that a partial gives it."""

    node: FunctionNode
    function: FunctionType
    location: str
    owner: object = None
    passed: Passed = ((), {})

    @functools.cached_property
    def fixed(self) -> dict[str, object]:
        """Parameters that have a value before the call: from a partial, else their defaults."""
        given, words = self.passed
        free = self.parameters[1:] if self.owner is not None else self.parameters
        defaults = {name: each.default for name, each in inspect.signature(self.function).parameters.items()}
        known = {name: value for name, value in defaults.items() if value is not inspect.Parameter.empty}
        return {**known, **dict(zip(free, given, strict=False)), **words}

    @functools.cached_property
    def values(self) -> dict[str, Any]:
        cells = zip(self.function.__code__.co_freevars, self.function.__closure__ or (), strict=True)
        closed = {name: cell.cell_contents for name, cell in cells if _filled(cell)}
        globals_: dict[str, Any] = self.function.__globals__  # pyright: ignore
        return {**vars(builtins), **globals_, **closed, **_imported(self.node, globals_)}

    @property
    def name(self) -> str:
        return self.function.__qualname__.split(".<locals>.")[-1]

    @property
    def parameters(self) -> list[str]:
        arguments = self.node.args
        return [each.arg for each in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)]

    def lookup(self, node: ast.expr) -> Any:
        """The object that a name, or a dotted name, stands for; MISSING where only a run can tell."""
        match node:
            case ast.Name(id=name) if self.owner is not None and self.parameters[:1] == [name]:
                return self.owner
            case ast.Name(id=name) if name not in self.locals:
                return self.values.get(name, MISSING)
            case ast.Attribute(value=base, attr=attribute):
                owner = self.lookup(base)
                found = MISSING if owner is MISSING else _attribute(owner, attribute)
                of_own_class = owner is self.owner and isinstance(owner, type) and isinstance(found, FunctionType)
                return MethodType(found, owner) if of_own_class else found
            case _:
                return MISSING

    @functools.cached_property
    def locals(self) -> frozenset[str]:
        stored = (each.id for each in ast.walk(self.node) if isinstance(each, ast.Name) and _binds(each))
        return frozenset([*self.parameters, *stored]) - set(self.function.__code__.co_freevars)


def source_of(thing: object) -> Source | None:
    """The source of a function, method, partial or callable object; None where there is none (C code, a stub)."""
    owner, function, passed = _python_function(thing)
    if function is None:
        return None
    node = _find(function.__code__)
    if node is None:
        return None
    location = f"{function.__code__.co_filename}:{function.__code__.co_firstlineno}"
    return Source(node, function, location, owner, passed)


def _python_function(thing: Any) -> tuple[object, FunctionType | None, Passed]:
    owner: object = None
    passed: Passed = ((), {})
    for _ in range(8):
        if is_stub(thing):
            break
        if isinstance(thing, functools.partial):
            passed = ((*thing.args, *passed[0]), {**thing.keywords, **passed[1]})
            thing = thing.func
        elif inspect.ismethod(thing):
            owner, thing = thing.__self__, thing.__func__
        elif callable(wrapped := _wrapped(thing)):
            thing = wrapped
        elif isinstance(thing, FunctionType):
            return owner, thing, passed
        elif isinstance(thing, type) or not inspect.ismethod(call := _call_of(thing)):
            break
        else:
            thing = call
    return None, None, passed


def _call_of(thing: Any) -> Any:
    return getattr(thing, "__call__", None)  # noqa: B004  (the method itself is wanted)


def _wrapped(thing: Any) -> Any:
    """What functools.wraps or lru_cache hides."""
    return None if isinstance(thing, type) else getattr(thing, "__wrapped__", None)


def _find(code: CodeType) -> FunctionNode | None:
    candidates = [node for node in _functions(code.co_filename).get(code.co_firstlineno, ()) if _named(node, code)]
    if len(candidates) > 1:
        candidates = [node for node in candidates if _covers(node, code)] or candidates
    return candidates[0] if candidates else None


@functools.lru_cache(maxsize=256)
def _functions(path: str) -> dict[int, list[FunctionNode]]:
    """All functions of a file by the line where their code object says it starts (that of the first decorator)."""
    try:
        tree = ast.parse("".join(linecache.getlines(path)))
    except SyntaxError:
        return {}
    found: dict[int, list[FunctionNode]] = {}
    for node in ast.walk(tree):
        if isinstance(node, FunctionNode):
            decorators = [] if isinstance(node, ast.Lambda) else node.decorator_list
            found.setdefault(min([node.lineno, *(each.lineno for each in decorators)]), []).append(node)
    return found


def _named(node: FunctionNode, code: CodeType) -> bool:
    return code.co_name == ("<lambda>" if isinstance(node, ast.Lambda) else node.name)


def _covers(node: FunctionNode, code: CodeType) -> bool:
    """Two lambdas of one line are told apart by the columns of their instructions."""
    assert isinstance(node, ast.Lambda | ast.FunctionDef | ast.AsyncFunctionDef)
    body = node.body if isinstance(node, ast.Lambda) else node
    begin, end = (body.lineno, body.col_offset), (body.end_lineno or body.lineno, body.end_col_offset or 0)
    spans = [each for each in code.co_positions() if None not in each and each[2:] != (0, 0)]
    return all(begin <= (line, column) and (last, stop) <= end for line, last, column, stop in spans)  # type: ignore[operator]


def _binds(name: ast.Name) -> bool:
    return isinstance(name.ctx, ast.Store | ast.Del)


def _imported(node: FunctionNode, namespace: Mapping[str, Any]) -> dict[str, Any]:
    """What the function itself imports of the program, and of what the program has loaded already."""
    found: dict[str, Any] = {}
    for each in ast.walk(node):
        if isinstance(each, ast.ImportFrom):
            module = _module("." * each.level + (each.module or ""), str(namespace.get("__package__") or ""))
            names = {alias.asname or alias.name: getattr(module, alias.name, MISSING) for alias in each.names}
            found |= {name: value for name, value in names.items() if module is not None and value is not MISSING}
    return found


@functools.lru_cache(maxsize=1024)
def _module(name: str, package: str) -> ModuleType | None:
    """Libraries that are not loaded stay so; a part of the program that fails has no names."""
    try:
        name = importlib.util.resolve_name(name, package)
        if name in sys.modules:
            return sys.modules[name]
        spec = importlib.util.find_spec(name)
        own = spec is not None and spec.origin is not None and "site-packages" not in spec.origin
        return importlib.import_module(name) if own else None
    except Exception:
        return None


def _filled(cell: Any) -> bool:
    try:
        _ = cell.cell_contents
    except ValueError:
        return False
    return True


def _attribute(owner: object, attribute: str) -> Any:
    try:
        if not isinstance(owner, type):
            return getattr(owner, attribute)
        found = inspect.getattr_static(owner, attribute)
        return found.__get__(None, owner) if isinstance(found, classmethod | staticmethod) else found
    except Exception:  # a property of the user's object may raise anything
        return MISSING
