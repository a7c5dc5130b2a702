"""What a function's source binds its names to, and what it returns: syntax only, no flow."""

import ast
from collections.abc import Iterator

from weft.compiler.frontends.langgraph.source import FunctionNode

_GROWERS = {"append", "extend", "insert", "add", "update"}
ITERATED = "iter"
"""`for x in items` binds x to `iter(items)`: the items of a list, the keys of a dict."""


def returns_of(function: FunctionNode) -> Iterator[ast.expr]:
    """The values of the `return`s of a function, not of functions inside it."""
    todo: list[ast.AST] = list(function.body) if isinstance(function.body, list) else []
    while todo:
        node = todo.pop(0)
        if isinstance(node, ast.Return) and node.value is not None:
            yield node.value
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda | ast.ClassDef):
            todo.extend(ast.iter_child_nodes(node))


def inner_function(function: FunctionNode, called: ast.expr) -> FunctionNode | None:
    """The function without parameters that `function` defines itself and calls so."""
    inner = (each for each in ast.walk(function) if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef))
    fits = (each for each in inner if _is_name(called, each.name) and not ast.unparse(each.args))
    return next((each for each in fits if each is not function), None)


def assigned(function: FunctionNode, name: str) -> list[ast.expr]:
    """All that a local name is bound to: assignments, loops, and what is appended to it."""
    return [value for node in ast.walk(function) for target, value in _bound(node) if _is_name(target, name)]


def annotated(function: FunctionNode, name: str) -> list[ast.expr]:
    """The annotations of a local name: `target: Literal["a", "b"] = …`."""
    notes = (node for node in ast.walk(function) if isinstance(node, ast.AnnAssign) and _is_name(node.target, name))
    return [node.annotation for node in notes]


def parameter_annotations(function: FunctionNode) -> list[tuple[str, ast.expr]]:
    arguments = function.args
    every = (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)
    return [(each.arg, each.annotation) for each in every if each.annotation is not None]


def _bound(node: ast.AST) -> Iterator[tuple[ast.expr, ast.expr]]:
    match node:
        case ast.Assign(targets=targets, value=value):
            for target in targets:
                yield from _unpacked(target, value)
        case ast.AnnAssign(target=target, value=ast.expr() as value):
            yield target, value
        case ast.AugAssign(target=target, value=value) | ast.NamedExpr(target=target, value=value):
            yield target, value
        case ast.For(target=target, iter=value) | ast.AsyncFor(target=target, iter=value):
            yield from _each(target, value)
        case ast.comprehension(target=target, iter=value):
            yield from _each(target, value)
        case ast.Call(func=ast.Attribute(value=ast.Name() as grown, attr=word), args=[*_, value]) if word in _GROWERS:
            yield grown, value
        case _:
            pass


def _unpacked(target: ast.expr, value: ast.expr) -> Iterator[tuple[ast.expr, ast.expr]]:
    if not isinstance(target, ast.Tuple | ast.List):
        yield target, value
    elif isinstance(value, ast.Tuple | ast.List) and len(value.elts) == len(target.elts):
        for part, each in zip(target.elts, value.elts, strict=True):
            yield from _unpacked(part, each)
    else:
        yield from ((part, value) for part in target.elts)


def _each(target: ast.expr, items: ast.expr) -> Iterator[tuple[ast.expr, ast.expr]]:
    """What a loop binds: pairs of `zip`, `enumerate` and `.items()` are taken apart."""
    match target, items:
        case ast.Tuple(elts=[_, inner]), ast.Call(func=ast.Name(id="enumerate"), args=[counted, *_]):
            yield from _each(inner, counted)
        case ast.Tuple(elts=parts), ast.Call(func=ast.Name(id="zip"), args=sources) if len(parts) == len(sources):
            for part, source in zip(parts, sources, strict=True):
                yield from _each(part, source)
        case ast.Tuple(elts=[key, value]), ast.Call(func=ast.Attribute(value=table, attr="items")):
            yield key, _iterated(table)
            yield value, table
        case (ast.Tuple(elts=parts), _):
            yield from ((part, items) for part in parts)
        case _:
            yield target, _iterated(items)


def _iterated(items: ast.expr) -> ast.expr:
    return ast.copy_location(ast.Call(ast.Name(ITERATED, ast.Load()), [items], []), items)


def _is_name(node: ast.expr, name: str) -> bool:
    return isinstance(node, ast.Name) and node.id == name
