"""Which node names an expression of the program can stand for: an over-approximation, or the admission that only a run
can tell. A list counts as the union of its items and a dict as that of its values, since routers pick among them.
"""

import ast
import fnmatch
import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Any, TypeVar, cast

from weft.compiler.frontends.langgraph.annotations import literals_of, return_literals
from weft.compiler.frontends.langgraph.source import MISSING, FunctionNode, Source, source_of

DEPTH = 5
_GROWERS = {"append", "extend", "insert", "add", "update"}
_PASS_THROUGH = {"list", "tuple", "set", "sorted", "str", "cast"}


@dataclass(frozen=True)
class Values:
    """`names` that may come out, `sends` that a Send(…) names; `unknown` are expressions that only a run can tell."""

    names: frozenset[str] = frozenset()
    sends: frozenset[str] = frozenset()
    unknown: tuple[str, ...] = ()

    @property
    def complete(self) -> bool:
        return not self.unknown

    def __or__(self, other: "Values") -> "Values":
        unknown = tuple(dict.fromkeys([*self.unknown, *other.unknown]))
        return Values(self.names | other.names, self.sends | other.sends, unknown)


NOTHING = Values()


def union(values: Iterable[Values]) -> Values:
    result = NOTHING
    for each in values:
        result = result | each
    return result


def constant(value: object) -> Values:
    """A Python value as node names: strings, enum members, and collections of them."""
    if isinstance(value, Enum):
        value = value.value
    if isinstance(value, str):
        return Values(frozenset([str(value)]))
    if value is None or isinstance(value, bool | int | float):
        return NOTHING
    if isinstance(value, Mapping):
        return union(constant(each) for each in cast("Mapping[Any, object]", value).values())
    if isinstance(value, list | tuple | set | frozenset):
        return union(constant(each) for each in cast("Iterable[object]", value))
    if type(value).__name__ == "Send" and isinstance(getattr(value, "node", None), str):
        return Values(sends=frozenset([str(getattr(value, "node", ""))]))
    return Values(unknown=(f"a {type(value).__name__}",))


@dataclass(frozen=True)
class Reader:
    """Reads expressions of one function. `known` are the node names; `state` the annotations of the state's fields;
    `given` what the caller passed for parameters."""

    source: Source
    known: frozenset[str]
    state: Mapping[str, Any] = field(default_factory=dict[str, Any])
    given: Mapping[str, Values] = field(default_factory=dict[str, Values])
    depth: int = 0
    visiting: frozenset[str] = frozenset()

    def returned(self) -> Values:
        """What the function can return: its Literal annotation if it has one, else the union of its returns."""
        declared = return_literals(self.source)
        if declared and not declared.sends:
            return Values(declared.names)
        node = self.source.node
        body = [node.body] if isinstance(node, ast.Lambda) else list(returns_of(node))
        read = union(self.read(each) for each in body)
        return Values(declared.names, read.sends, ()) if declared.names else read

    def read(self, node: ast.expr | None) -> Values:
        if node is None:
            return NOTHING
        handler = _HANDLERS.get(type(node))
        return handler(self, node) if handler else self._unknown(node)

    def _unknown(self, node: ast.expr) -> Values:
        return Values(unknown=(ast.unparse(node),))

    def _items(self, node: ast.List | ast.Tuple | ast.Set) -> Values:
        return union(self.read(each.value if isinstance(each, ast.Starred) else each) for each in node.elts)

    def _name(self, node: ast.Name) -> Values:
        if node.id in self.given:
            return self.given[node.id]
        if node.id in self.visiting:
            return NOTHING
        if node.id not in self.source.locals:
            value = self.source.lookup(node)
            return self._unknown(node) if value is MISSING else constant(value)
        inner = replace(self, visiting=self.visiting | {node.id})
        found = [inner.read(value) for value in _assigned(self.source.node, node.id)]
        return union(found) if found else self._parameter(node)

    def _parameter(self, node: ast.Name) -> Values:
        names = literals_of(inspect.get_annotations(self.source.function).get(node.id))
        return Values(frozenset(names)) if names else self._unknown(node)

    def _attribute(self, node: ast.Attribute) -> Values:
        value = self.source.lookup(node)
        if value is not MISSING:
            read = constant(value)
            return read if read.complete else self._unknown(node)
        if node.attr == "value":  # of an enum member that a parameter or field holds
            return self.read(node.value)
        return self._field(node, node.value, node.attr)

    def _subscript(self, node: ast.Subscript) -> Values:
        if isinstance(node.slice, ast.Constant) and isinstance(node.slice.value, str):
            read = self._field(node, node.value, node.slice.value)
            if read.complete:
                return read
        read = self.read(node.value)
        return read if read.complete else self._unknown(node)

    def _field(self, node: ast.expr, base: ast.expr, name: str) -> Values:
        """`state["next"]` or `answer.next` where the field is annotated with a Literal or an Enum."""
        fields = self._fields_of(base)
        names = literals_of(fields.get(name))
        return Values(frozenset(names)) if names else self._unknown(node)

    def _fields_of(self, base: ast.expr) -> Mapping[str, Any]:
        if isinstance(base, ast.Name) and base.id in _state_parameters(self.source):
            return self.state
        if isinstance(base, ast.Name) and base.id in self.source.locals:
            schemas = [_structured(self.source, value) for value in _assigned(self.source.node, base.id)]
            return next((schema for schema in schemas if schema), dict[str, Any]())
        return _structured(self.source, base)

    def _call(self, node: ast.Call) -> Values:
        callee = self.source.lookup(node.func)
        name = getattr(callee, "__name__", ast.unparse(node.func))
        if name == "Send" or (callee is MISSING and ast.unparse(node.func).endswith("Send")):
            target = self.read(node.args[0] if node.args else _keyword(node, "node"))
            return Values(sends=target.names | target.sends, unknown=target.unknown)
        if name in _PASS_THROUGH and node.args:
            return self.read(node.args[-1])
        if isinstance(node.func, ast.Attribute) and node.func.attr in {"get", "values", "pop", "copy"}:
            return self._get(node, node.func)
        return self._helper(node, callee)

    def _get(self, node: ast.Call, callee: ast.Attribute) -> Values:
        """`ROUTES.get(x, default)`, or `state.get("next", default)`."""
        default = self.read(node.args[1] if len(node.args) > 1 else None)
        key = node.args[0] if node.args else None
        if isinstance(key, ast.Constant) and isinstance(key.value, str):
            read = self._field(node, callee.value, key.value)
            if read.complete:
                return read | default
        read = self.read(callee.value)
        return (read if read.complete else self._unknown(node)) | default

    def _helper(self, node: ast.Call, callee: object) -> Values:
        helper = None if callee is MISSING or self.depth >= DEPTH else source_of(callee)
        if helper is None or isinstance(callee, type):
            return self._unknown(node)
        names = helper.parameters[1:] if helper.owner is not None else helper.parameters
        given = {name: self.read(value) for name, value in zip(names, node.args, strict=False)}
        given |= {word.arg: self.read(word.value) for word in node.keywords if word.arg}
        complete = {name: value for name, value in given.items() if value.complete and (value.names or value.sends)}
        read = Reader(helper, self.known, self.state, complete, self.depth + 1).returned()
        return read if read.complete else Values(read.names, read.sends, (ast.unparse(node),))

    def _format(self, node: ast.JoinedStr) -> Values:
        """`f"agent_{i}"` can only be one of the nodes that match it."""
        parts = [
            each.value if isinstance(each, ast.Constant) and isinstance(each.value, str) else "*"
            for each in node.values
        ]
        matching = frozenset(fnmatch.filter(sorted(self.known), "".join(parts)))
        fixed = any(part not in ("*", "") for part in parts)
        return Values(matching) if fixed and matching else self._unknown(node)

    def _comprehension(self, node: ast.ListComp | ast.GeneratorExp | ast.SetComp) -> Values:
        """Without what its conditions leave out: `[each for each in ALL if each != "me"]`."""
        tests = [test for generator in node.generators for test in generator.ifs]
        read = self.read(node.elt)
        return replace(read, names=read.names - self._left_out(node.elt, tests))

    def _left_out(self, item: ast.expr, tests: list[ast.expr]) -> frozenset[str]:
        left_out: frozenset[str] = frozenset()
        for test in tests:
            match test:
                case ast.Compare(left=left, ops=[ast.NotEq() | ast.NotIn()], comparators=[other]):
                    same = ast.dump(left) == ast.dump(item)
                    left_out |= self.read(other).names if same else frozenset()
                case _:
                    pass
        return left_out

    def _constant(self, node: ast.Constant) -> Values:
        return constant(node.value)


Expression = TypeVar("Expression", bound=ast.expr)
_HANDLERS: dict[type[ast.expr], Callable[[Reader, Any], Values]] = {
    ast.Constant: Reader._constant,  # pyright: ignore[reportPrivateUsage]
    ast.Name: Reader._name,  # pyright: ignore[reportPrivateUsage]
    ast.Attribute: Reader._attribute,  # pyright: ignore[reportPrivateUsage]
    ast.Subscript: Reader._subscript,  # pyright: ignore[reportPrivateUsage]
    ast.Call: Reader._call,  # pyright: ignore[reportPrivateUsage]
    ast.JoinedStr: Reader._format,  # pyright: ignore[reportPrivateUsage]
    ast.List: Reader._items,  # pyright: ignore[reportPrivateUsage]
    ast.Tuple: Reader._items,  # pyright: ignore[reportPrivateUsage]
    ast.Set: Reader._items,  # pyright: ignore[reportPrivateUsage]
    ast.ListComp: Reader._comprehension,  # pyright: ignore[reportPrivateUsage]
    ast.SetComp: Reader._comprehension,  # pyright: ignore[reportPrivateUsage]
    ast.GeneratorExp: Reader._comprehension,  # pyright: ignore[reportPrivateUsage]
    ast.Dict: lambda reader, node: union(reader.read(each) for each in node.values),
    ast.IfExp: lambda reader, node: reader.read(node.body) | reader.read(node.orelse),
    ast.BoolOp: lambda reader, node: union(reader.read(each) for each in node.values),
    ast.BinOp: lambda reader, node: reader.read(node.left) | reader.read(node.right),
    ast.NamedExpr: lambda reader, node: reader.read(node.value),
    ast.Await: lambda reader, node: reader.read(node.value),
    ast.Starred: lambda reader, node: reader.read(node.value),
    ast.Compare: lambda reader, node: NOTHING,
}


def returns_of(function: FunctionNode) -> Iterator[ast.expr]:
    """The values of the `return`s of a function, not of functions inside it."""
    todo: list[ast.AST] = list(function.body) if isinstance(function.body, list) else []
    while todo:
        node = todo.pop(0)
        if isinstance(node, ast.Return) and node.value is not None:
            yield node.value
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda | ast.ClassDef):
            todo.extend(ast.iter_child_nodes(node))


def _assigned(function: FunctionNode, name: str) -> list[ast.expr]:
    """All that a local name is bound to: assignments, loops, and what is appended to it."""
    found: list[ast.expr] = []
    for node in ast.walk(function):
        match node:
            case ast.Assign(targets=targets, value=value) if any(_is_name(target, name) for target in targets):
                found.append(value)
            case ast.AnnAssign(target=target, value=ast.expr() as value) if _is_name(target, name):
                found.append(value)
            case ast.AugAssign(target=target, value=value) | ast.NamedExpr(target=target, value=value):
                found.extend([value] if _is_name(target, name) else [])
            case ast.For(target=target, iter=value) | ast.AsyncFor(target=target, iter=value):
                found.extend([value] if _is_name(target, name) else [])
            case ast.comprehension(target=target, iter=value):
                found.extend([value] if _is_name(target, name) else [])
            case ast.Call(func=ast.Attribute(value=ast.Name(id=grown), attr=word), args=[*_, value]) if grown == name:
                found.extend([value] if word in _GROWERS else [])
            case ast.Assign(targets=[ast.Tuple(elts=targets)], value=value):
                found.extend(_unpacked(targets, value, name))
            case _:
                pass
    return found


def _unpacked(targets: list[ast.expr], value: ast.expr, name: str) -> list[ast.expr]:
    if not any(_is_name(target, name) for target in targets):
        return []
    if isinstance(value, ast.Tuple) and len(value.elts) == len(targets):
        return [each for target, each in zip(targets, value.elts, strict=True) if _is_name(target, name)]
    return [value]


def _is_name(node: ast.expr, name: str) -> bool:
    return isinstance(node, ast.Name) and node.id == name


def _keyword(node: ast.Call, name: str) -> ast.expr | None:
    return next((word.value for word in node.keywords if word.arg == name), None)


def _state_parameters(source: Source) -> set[str]:
    first = 1 if source.owner is not None else 0
    return set(source.parameters[first : first + 1])


def _structured(source: Source, node: ast.expr) -> Mapping[str, Any]:
    """The fields of what `model.with_structured_output(Schema).invoke(…)` gives."""
    for each in ast.walk(node):
        if isinstance(each, ast.Call) and isinstance(each.func, ast.Attribute):
            if each.func.attr == "with_structured_output" and each.args:
                return annotations_of(source.lookup(each.args[0]))
            if each.func.attr in {"invoke", "ainvoke"}:
                schema = _bound_schema(source.lookup(each.func.value))
                if schema is not None:
                    return annotations_of(schema)
    return {}


def _bound_schema(runnable: Any) -> object:
    """The schema that `with_structured_output` was given when the runnable was made."""
    for part in (*getattr(runnable, "steps", ()), runnable):
        bound: Mapping[str, Any] = getattr(part, "kwargs", None) or {}
        form: Mapping[str, object] = bound.get("ls_structured_output_format") or {}
        if "weft_schema" in form:
            return form["weft_schema"]
    return None


def annotations_of(schema: object) -> Mapping[str, Any]:
    """The fields of a TypedDict, dataclass or pydantic model, also those that it inherits."""
    if not isinstance(schema, type):
        return {}
    try:
        return {key: value for base in reversed(schema.__mro__) for key, value in inspect.get_annotations(base).items()}
    except Exception:  # an annotation of the user's class may fail to evaluate
        return {}
