# pyright: standard
"""`file.py:make_graph("gpt-4o", ...)`: a call in the program's module, with stand-ins for each `...` in it."""

import ast
import inspect
import re
from collections.abc import Callable, Mapping
from typing import Any

from weft.compiler.frontends.langgraph import stubs
from weft.core.errors import ProgramError

_STAND_IN = "weft_stand_in"


def required(factory: Callable[..., Any]) -> list[inspect.Parameter]:
    """The parameters that a call must give; none are known of what has no signature (dict, a TypedDict)."""
    try:
        parameters = inspect.signature(factory).parameters.values()
    except ValueError:
        return []
    return [each for each in parameters if each.default is inspect.Parameter.empty and not _is_variadic(each)]


def call_of(name: str, factory: Callable[..., Any], method: bool = False) -> str:
    """`make_graph(..., model=...)`, with as many stand-ins as it asks for."""
    asked = required(factory)[int(method) :]
    words = (f"{each.name}=..." if each.kind is inspect.Parameter.KEYWORD_ONLY else "..." for each in asked)
    return f"{name}({', '.join(words)})"


def evaluated(call: str, namespace: Mapping[str, Any], subject: str) -> Any:
    try:
        tree = ast.parse(call, mode="eval")
    except SyntaxError as error:
        raise ProgramError(
            subject=subject, problem=f"does not parse: {error.msg}", way_out="write a call such as make_graph(...)"
        ) from error
    tree = ast.fix_missing_locations(_Ellipses().visit(tree))
    return eval(compile(tree, "<call>", "eval"), {**namespace, _STAND_IN: _stand_in})


class _Ellipses(ast.NodeTransformer):
    def visit_Call(self, node: ast.Call) -> ast.Call:
        self.generic_visit(node)
        node.args = [_replaced(node.func, each, index) for index, each in enumerate(node.args)]
        node.keywords = [ast.keyword(word.arg, _replaced(node.func, word.value, word.arg)) for word in node.keywords]
        return node


def _replaced(function: ast.expr, argument: ast.expr, key: int | str | None) -> ast.expr:
    if not isinstance(argument, ast.Constant) or argument.value is not Ellipsis:
        return argument
    return ast.Call(ast.Name(_STAND_IN, ast.Load()), [function, ast.Constant(key)], [])


def _stand_in(callee: Any, key: int | str) -> Any:
    """A chat model, a graph or a list of one where the parameter is that by name or annotation, else an ordinary
    stand-in."""
    from langchain_core.runnables import RunnableLambda
    from langgraph.graph import START, MessagesState, StateGraph

    from weft.compiler.frontends.langgraph.stub_langchain import StubChatModel  # LangChain is loaded by then

    parameters = inspect.signature(callee).parameters
    name = key if isinstance(key, str) else list(parameters)[key]
    annotation = str(parameters[name].annotation) if name in parameters else ""
    if re.search(r"(^|_)(llm|model)s?$", name) or re.search("ChatModel|LanguageModel|LLM", annotation):
        return StubChatModel()
    if re.search("Compiled|Pregel|StateGraph", annotation):
        opaque = StateGraph(MessagesState).add_node(name, RunnableLambda(stubs.value(name)))
        graph = opaque.add_edge(START, name).compile(name=name)
        return (
            [graph]
            if re.match(r"(typing\.)?(list|List|tuple|Tuple|Sequence|Iterable|collections)\b", annotation)
            else graph
        )
    return stubs.value(name)


def _is_variadic(parameter: inspect.Parameter) -> bool:
    return parameter.kind in (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
