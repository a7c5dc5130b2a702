"""Which node names an expression of the program can stand for: an over-approximation, or the admission that only a run
can tell. A list counts as the union of its items and a dict as that of its values, since routers pick among them.
"""

import ast
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import Enum, EnumType
from typing import Any, TypeVar, cast

from weft.compiler.frontends.langgraph.annotations import literals_in, literals_of, return_literals
from weft.compiler.frontends.langgraph.bindings import (
    ITERATED,
    annotated,
    assigned,
    inner_function,
    parameter_annotations,
    returns_of,
)
from weft.compiler.frontends.langgraph.guards import checked_against
from weft.compiler.frontends.langgraph.schemas import annotations_of, structured
from weft.compiler.frontends.langgraph.source import MISSING, Source, source_of
from weft.compiler.frontends.langgraph.words import ANY, applied, formatted, joined, matching

DEPTH = 5
_PASS_THROUGH = {"str", "cast", "choice", "choices", "sample", "max", "min"}
_COLLECTIONS = {"list", "tuple", "set", "frozenset", "sorted", "reversed", ITERATED}


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
        """What the function can return: its Literal annotation if it has one, else the union of its returns; and what
        it sends to, which no annotation can name."""
        declared = return_literals(self.source)
        node = self.source.node
        body = [node.body] if isinstance(node, ast.Lambda) else list(returns_of(node))
        read = union(self.read(each) for each in body)
        return Values(declared.names, read.sends, ()) if declared.names else read

    def read(self, node: ast.expr | None) -> Values:
        if node is None:
            return NOTHING
        handler = _HANDLERS.get(type(node))
        values = handler(self, node) if handler else self._unknown(node)
        return values if values.complete else self._checked(node, values)

    def _checked(self, node: ast.expr, values: Values) -> Values:
        """What an expression that only a run can tell has been tested against where it stands."""
        tests = checked_against(self.source.node, node)
        if not tests or not isinstance(node, ast.Name | ast.Attribute | ast.Subscript | ast.Call):
            return values
        allowed = union(self._iterated(each) for each in tests)
        return Values(values.names | allowed.names, values.sends) if allowed.complete and allowed.names else values

    def _unknown(self, node: ast.expr) -> Values:
        return Values(unknown=(ast.unparse(node),))

    def _items(self, node: ast.List | ast.Tuple | ast.Set) -> Values:
        return union(self.read(each.value if isinstance(each, ast.Starred) else each) for each in node.elts)

    def _name(self, node: ast.Name) -> Values:
        if node.id in self.visiting:
            return NOTHING
        if node.id not in self.source.locals:
            value = self.source.lookup(node)
            return self._unknown(node) if value is MISSING else constant(value)
        inner = replace(self, visiting=self.visiting | {node.id})
        found = [inner.read(value) for value in assigned(self.source.node, node.id)]
        if not found or node.id in self.source.parameters:
            found.append(self._parameter(node))
        values = union(found)
        names = [name for note in annotated(self.source.node, node.id) for name in literals_in(note, self.source)]
        return Values(frozenset(names), values.sends) if names and not values.complete else values

    def _parameter(self, node: ast.Name) -> Values:
        """What was passed, also by a partial; else its Literal annotation, else its default."""
        given = self.given.get(node.id)
        if given is not None and given.complete and (given.names or given.sends):
            return given
        notes = [note for name, note in parameter_annotations(self.source.node) if name == node.id]
        names = [name for note in notes for name in literals_in(note, self.source)]
        if names:
            return Values(frozenset(names))
        fixed = self.source.fixed
        return constant(fixed[node.id]) if given is None and node.id in fixed else self._unknown(node)

    def _attribute(self, node: ast.Attribute) -> Values:
        value = self.source.lookup(node)
        if value is not MISSING:
            read = constant(value)
            return read if read.complete else self._unknown(node)
        if node.attr in {"value", "name"}:  # of an enum member that a parameter or field holds
            read = self.read(node.value)
            if read.complete:
                return read
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
            schemas = [structured(self.source, value) for value in assigned(self.source.node, base.id)]
            return next((schema for schema in schemas if schema), dict[str, Any]())
        inner = _field_name(base)
        if inner is not None:  # `state["plan"].next`: the fields of a field
            return annotations_of(self._fields_of(inner[0]).get(inner[1]))
        return structured(self.source, base)

    def _call(self, node: ast.Call) -> Values:
        callee = self.source.lookup(node.func)
        name = getattr(callee, "__name__", ast.unparse(node.func))
        if name == "Send" or (callee is MISSING and ast.unparse(node.func).endswith("Send")):
            target = self.read(node.args[0] if node.args else _keyword(node, "node"))
            return Values(sends=target.names | target.sends, unknown=target.unknown)
        if name in _COLLECTIONS and node.args:
            return self._iterated(node.args[-1])
        if name in _PASS_THROUGH and node.args:
            return self.read(node.args[-1])
        if name == "next" and node.args:
            return union(self.read(each) for each in node.args)
        if name == "map" and len(node.args) > 1:
            return self._mapped(node)
        if isinstance(callee, EnumType):
            return constant(list(cast("Iterable[object]", callee)))
        if isinstance(node.func, ast.Attribute):
            return self._method(node, node.func, callee)
        return self._helper(node, callee)

    def _method(self, node: ast.Call, method: ast.Attribute, callee: object) -> Values:
        """A method of a dict, a state or a string, else of an object of the program."""
        if method.attr in {"get", "values", "pop", "copy"}:
            return self._get(node, method)
        if method.attr == "keys":
            return self._iterated(method.value)
        if method.attr == "format" and isinstance(method.value, ast.Constant):
            return self._pattern(node, [formatted(str(method.value.value))])
        read = self.read(method.value) if callee is MISSING or not hasattr(callee, "__code__") else None
        if read is not None and read.complete and read.names and not read.sends:
            words = applied(method.attr, read.names, node.args)
            if words is not None:
                return Values(words)
        return self._helper(node, callee)

    def _mapped(self, node: ast.Call) -> Values:
        """`map(lambda item: Send("work", item), items)`."""
        function = node.args[0]
        if isinstance(function, ast.Lambda):
            return self.read(function.body)
        return self._helper(ast.copy_location(ast.Call(function, [], []), node), self.source.lookup(function))

    def _iterated(self, node: ast.expr) -> Values:
        """The items of a list, the keys of a dict."""
        if isinstance(node, ast.Dict):
            return union(self.read(each) for each in node.keys)
        if isinstance(node, ast.DictComp):
            return self.read(node.key)
        if isinstance(node, ast.Name) and node.id in self.source.locals:
            tables = assigned(self.source.node, node.id)
            if tables and all(isinstance(each, ast.Dict | ast.DictComp) for each in tables):
                return union(self._iterated(each) for each in tables)
        value = self.source.lookup(node)
        if isinstance(value, Mapping):
            return constant(list(cast("Mapping[Any, object]", value)))
        if isinstance(value, EnumType):
            return constant(list(cast("Iterable[object]", value)))
        return self.read(node)

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
        if callee is MISSING and (inner := inner_function(self.source.node, node.func)):
            return union(self.read(each) for each in returns_of(inner))
        helper = None if callee is MISSING or self.depth >= DEPTH else source_of(callee)
        if helper is None or isinstance(callee, type):
            return self._unknown(node)
        names = helper.parameters[1:] if helper.owner is not None else helper.parameters
        given = {name: self.read(value) for name, value in zip(names, node.args, strict=False)}
        given |= {word.arg: self.read(word.value) for word in node.keywords if word.arg}
        read = Reader(helper, self.known, self.state, given, self.depth + 1).returned()
        return read if read.complete else Values(read.names, read.sends, (ast.unparse(node),))

    def _format(self, node: ast.JoinedStr) -> Values:
        """`f"agent_{i}"` can only be one of the nodes that match it."""
        patterns = frozenset([""])
        for each in node.values:
            patterns = joined(patterns, self._word(each.value if isinstance(each, ast.FormattedValue) else each))
        return self._pattern(node, patterns)

    def _word(self, node: ast.expr) -> frozenset[str]:
        read = self.read(node)
        return read.names if read.complete and read.names else frozenset([ANY])

    def _pattern(self, node: ast.expr, patterns: Iterable[str]) -> Values:
        names = matching(patterns, self.known)
        return self._unknown(node) if names is None else Values(names)

    def _operation(self, node: ast.BinOp) -> Values:
        """Strings are put together; of a set what is taken away is gone; lists and the like are united."""
        if isinstance(node.op, ast.Mod) and isinstance(node.left, ast.Constant):
            return self._pattern(node, [formatted(str(node.left.value))])
        if isinstance(node.op, ast.Add) and any(_is_text(each) for each in (node.left, node.right)):
            return self._pattern(node, joined(self._word(node.left), self._word(node.right)))
        left, right = self.read(node.left), self.read(node.right)
        if isinstance(node.op, ast.Sub):
            return replace(left, names=left.names - right.names)
        return left | right

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
    ast.BinOp: Reader._operation,  # pyright: ignore[reportPrivateUsage]
    ast.DictComp: lambda reader, node: reader.read(node.value),
    ast.NamedExpr: lambda reader, node: reader.read(node.value),
    ast.Await: lambda reader, node: reader.read(node.value),
    ast.Starred: lambda reader, node: reader.read(node.value),
    ast.Compare: lambda reader, node: NOTHING,
}


def _keyword(node: ast.Call, name: str) -> ast.expr | None:
    return next((word.value for word in node.keywords if word.arg == name), None)


def _state_parameters(source: Source) -> set[str]:
    first = 1 if source.owner is not None else 0
    return set(source.parameters[first : first + 1])


def _is_text(node: ast.expr) -> bool:
    return isinstance(node, ast.JoinedStr) or (isinstance(node, ast.Constant) and isinstance(node.value, str))


def _field_name(node: ast.expr) -> tuple[ast.expr, str] | None:
    """`x["name"]`, `x.name` or `x.get("name")` as (x, name)."""
    match node:
        case ast.Subscript(value=base, slice=ast.Constant(value=str(name))):
            return base, name
        case ast.Attribute(value=base, attr=name):
            return base, name
        case ast.Call(func=ast.Attribute(value=base, attr="get"), args=[ast.Constant(value=str(name)), *_]):
            return base, name
        case _:
            return None
