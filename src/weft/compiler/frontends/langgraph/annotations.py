"""Node names in type annotations: `Literal["a", "b"]`, `Command[Literal[…]]`, `list[Literal[…]] | Send`, enums."""

import ast
from dataclasses import dataclass
from enum import Enum
from typing import Any, Literal, get_args, get_origin, get_type_hints

from weft.compiler.frontends.langgraph.source import MISSING, Source


@dataclass(frozen=True)
class Declared:
    """`command`: the annotation says Command[…]; `sends`: it speaks of Send, whose targets no annotation can name."""

    names: frozenset[str] = frozenset()
    command: bool = False
    sends: bool = False

    def __bool__(self) -> bool:
        return bool(self.names)


def literals_of(annotation: Any) -> tuple[str, ...]:
    """All strings in the Literals and Enums of an annotation, at any depth; empty for `str` and the like."""
    if get_origin(annotation) is Literal:
        return tuple(text_of(each) for each in get_args(annotation))
    if isinstance(annotation, type) and issubclass(annotation, Enum):
        return tuple(text_of(each) for each in annotation)
    parts = [literals_of(each) for each in get_args(annotation)]
    return tuple(dict.fromkeys(name for part in parts for name in part))


def return_literals(source: Source) -> Declared:
    """What the return annotation of a function declares, also where it cannot be evaluated as a whole."""
    node = source.node
    if isinstance(node, ast.Lambda) or node.returns is None:
        return Declared()
    words = {each.id for each in ast.walk(_parsed(node.returns)) if isinstance(each, ast.Name)}
    words |= {each.attr for each in ast.walk(_parsed(node.returns)) if isinstance(each, ast.Attribute)}
    try:
        names = literals_of(get_type_hints(source.function, include_extras=True).get("return"))
    except Exception:  # names that exist for type checkers only
        names = literals_in(node.returns, source)
    return Declared(frozenset(names), "Command" in words, "Send" in words)


def _parsed(annotation: ast.expr) -> ast.expr:
    if isinstance(annotation, ast.Constant) and isinstance(annotation.value, str):
        return ast.parse(annotation.value, mode="eval").body
    return annotation


def literals_in(annotation: ast.expr, source: Source) -> tuple[str, ...]:
    """The strings of the Literals, enums and aliases that an annotation is written with."""
    names: list[str] = []
    for node in ast.walk(_parsed(annotation)):
        if isinstance(node, ast.Subscript) and ast.unparse(node.value).split(".")[-1] == "Literal":
            members = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
            for member in members:
                value = member.value if isinstance(member, ast.Constant) else source.lookup(member)
                names += [text_of(value)] if value is not MISSING else []
        elif isinstance(node, ast.Name | ast.Attribute):
            names += literals_of(source.lookup(node))
    return tuple(dict.fromkeys(names))


def text_of(value: object) -> str:
    """A node's name, also where an enum member stands for it."""
    return str(value.value) if isinstance(value, Enum) else str(value)
