# pyright: standard
"""Graphs that a node's code makes when it runs, `self.build().compile()`: made here, so that they can be read."""

import ast
import types
from collections.abc import Callable
from typing import Any

from weft.compiler.frontends.langgraph.discover import builds_graph, graph_in, make
from weft.compiler.frontends.langgraph.source import MISSING, Source
from weft.core.errors import WeftError


class Factories:
    """Each call is made once, and only where its arguments are known before the run."""

    def __init__(self, is_program: Callable[[str], bool]) -> None:
        self._is_program = is_program
        self._made: dict[object, Any] = {}

    def is_factory(self, callee: Any) -> bool:
        function = getattr(callee, "__func__", callee)
        own = isinstance(function, types.FunctionType) and self._is_program(function.__code__.co_filename)
        return own and builds_graph(function)

    def graph(self, source: Source, call: ast.Call, callee: Any) -> Any:
        """The graph that `call` makes; None where only a run can make it."""
        arguments = [_value(source, each) for each in call.args]
        words = {word.arg: _value(source, word.value) for word in call.keywords if word.arg is not None}
        if len(words) < len(call.keywords) or any(each is MISSING for each in (*arguments, *words.values())):
            return None
        owner = getattr(callee, "__self__", None)
        key = (id(source.function), ast.unparse(call), id(owner))
        if key not in self._made:
            self._made[key] = _made(lambda: callee(*arguments, **words))
        return self._made[key]


def _made(factory: Callable[[], Any]) -> Any:
    try:
        return graph_in(make(factory, "a graph made by a node"))
    except WeftError:
        return None


def _value(source: Source, node: ast.expr) -> Any:
    """What an argument is before the run; MISSING where only the run makes it."""
    if isinstance(node, ast.Constant):
        return node.value
    if isinstance(node, ast.List | ast.Tuple):
        items = [_value(source, each) for each in node.elts]
        return MISSING if any(each is MISSING for each in items) else items
    return source.lookup(node)
