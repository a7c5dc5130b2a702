# pyright: standard
"""The nodes of a graph whose model's text is the graph's answer, word by word, so that it may be told as it is made.

Two things must be sure of such a node. Nothing comes after it: its only edge goes to the end (that nothing runs beside
it is seen when it runs, see stages). And its function ends in `return {"messages": [model.invoke(…)]}`, before which
it calls nothing that could ask a model. Where either is not sure the answer is told once it is whole.
"""

import ast
import builtins
import inspect
import sys
import textwrap
from collections.abc import Iterator
from types import ModuleType
from typing import Any

from langchain_core.language_models.chat_models import BaseChatModel
from langchain_core.messages import BaseMessage
from langchain_core.prompts import BasePromptTemplate
from langchain_core.runnables import RunnableBinding, RunnableSequence
from langgraph.channels.binop import BinaryOperatorAggregate
from langgraph.graph import END
from langgraph.graph.message import add_messages
from langgraph.graph.state import CompiledStateGraph

MESSAGES = "messages"
INVOKED = ("invoke", "ainvoke")
ASKING = (*INVOKED, "stream", "astream", "batch", "abatch", "transform", "atransform", "generate", "agenerate")


def replying_nodes(graph: Any) -> frozenset[str]:
    """By path: supervisor/agent."""
    return frozenset(_replying(graph)) if isinstance(graph, CompiledStateGraph) else frozenset()


def _replying(graph: CompiledStateGraph) -> Iterator[str]:
    builder, channel = graph.builder, graph.channels.get(MESSAGES)
    adds = isinstance(channel, BinaryOperatorAggregate) and channel.operator is add_messages
    if not adds or MESSAGES not in graph.output_channels or any(node.defer for node in builder.nodes.values()):
        return
    edges = builder.edges | {(start, end) for starts, end in builder.waiting_edges for start in starts}
    for name, node in builder.nodes.items():
        goes_to = {end for start, end in edges if start == name}
        if goes_to != {END} or builder.branches.get(name) or node.ends:
            continue
        if isinstance(node.runnable, CompiledStateGraph):
            yield from (f"{name}/{inner}" for inner in _replying(node.runnable))
        elif _returns_what_a_model_says(node.runnable):
            yield name


def _returns_what_a_model_says(runnable: Any) -> bool:
    function = getattr(runnable, "func", None) or getattr(runnable, "afunc", None)
    if not inspect.isfunction(function):
        return False
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    except (OSError, SyntaxError):
        return False
    defined = tree.body[0]
    if not isinstance(defined, ast.FunctionDef | ast.AsyncFunctionDef) or defined.decorator_list:
        return False
    last = _last_call(defined)
    if last is None:
        return False
    names = _Names(function, defined)
    others = (each for each in ast.walk(defined) if isinstance(each, ast.Call) and each is not last)
    return names.is_model(last.func) and all(names.asks_nothing(each.func) for each in others)


def _last_call(function: ast.FunctionDef | ast.AsyncFunctionDef) -> ast.Call | None:
    """x.invoke(…) of `return {"messages": [x.invoke(…)]}`, perhaps named in the statement before."""
    *before, last = function.body
    inside = [each for each in ast.walk(function) if each is not function]
    returns = [each for each in inside if isinstance(each, ast.Return | ast.Yield | ast.YieldFrom)]
    nested = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda)
    if returns != [last] or any(isinstance(each, nested) for each in inside) or not isinstance(last, ast.Return):
        return None
    match last.value:
        case ast.Dict(keys=[ast.Constant(value="messages")], values=[ast.List(elts=[said])]):
            pass
        case ast.Dict(keys=[ast.Constant(value="messages")], values=[said]):
            pass
        case _:
            return None
    if isinstance(said, ast.Name) and before:
        match before[-1]:
            case ast.Assign(targets=[ast.Name(id=name)], value=value) if name == said.id:
                said = value
            case _:
                return None
    said = said.value if isinstance(said, ast.Await) else said
    return said if isinstance(said, ast.Call) and isinstance(said.func, ast.Attribute) else None


class _Names:
    """What the names in a function stand for, where that is known before it runs."""

    def __init__(self, function: Any, defined: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        closed = inspect.getclosurevars(function)
        self._known = {**vars(builtins), **function.__globals__, **closed.nonlocals}
        every = [*defined.args.posonlyargs, *defined.args.args, *defined.args.kwonlyargs]
        stored = {each.id for each in ast.walk(defined) if isinstance(each, ast.Name) and not _is_read(each)}
        self._local = {each.arg for each in every} | stored

    def is_model(self, asked: ast.expr) -> bool:
        if not isinstance(asked, ast.Attribute) or asked.attr not in INVOKED:
            return False
        return _is_model(self._value(asked.value))

    def asks_nothing(self, called: ast.expr) -> bool:
        """Builtins, messages, prompts, modules of Python's own, and methods of what the node was given."""
        value = self._value(called)
        if isinstance(value, type) and (issubclass(value, BaseMessage) or value.__module__ == "builtins"):
            return True
        if inspect.isbuiltin(value):
            return True
        if not isinstance(called, ast.Attribute):
            return False
        of = self._value(called.value)
        if isinstance(of, ModuleType):
            return of.__name__.partition(".")[0] in sys.stdlib_module_names
        return isinstance(of, BasePromptTemplate | str) or (called.attr not in ASKING and self._is_given(called.value))

    def _is_given(self, expression: ast.expr) -> bool:
        """What another call gave too: that call is looked at by itself."""
        names = [each.id for each in ast.walk(expression) if isinstance(each, ast.Name)]
        return isinstance(expression, ast.Call) or all(name in self._local for name in names)

    def _value(self, expression: ast.expr) -> Any:
        """None: not known."""
        match expression:
            case ast.Name(id=name):
                return None if name in self._local else self._known.get(name)
            case ast.Attribute(value=of, attr=attr):
                owner = self._value(of)
                return None if owner is None else inspect.getattr_static(owner, attr, None)
            case ast.Constant(value=str() as text):
                return text
            case ast.BinOp(left=left, op=ast.BitOr(), right=right) if isinstance(self._value(left), BasePromptTemplate):
                return self._value(right)
            case _:
                return None


def _is_read(name: ast.Name) -> bool:
    return isinstance(name.ctx, ast.Load)


def _is_model(value: Any) -> bool:
    match value:
        case BaseChatModel():
            return True
        case RunnableBinding(bound=bound):
            return _is_model(bound)
        case RunnableSequence(first=BasePromptTemplate(), middle=[], last=last):
            return _is_model(last)
        case _:
            return False
