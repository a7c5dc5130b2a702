# pyright: standard
"""What a function does with tools: hands them to a model, which may ask for them, or calls them itself."""

import ast
import re
from typing import Any

from weft.compiler.frontends.langgraph.models import tool_name
from weft.compiler.frontends.langgraph.source import MISSING, Source

_RESULTS = {"ToolMessage", "FunctionMessage", "ToolNode", "ToolExecutor", "ToolInvocation", "AgentExecutor"}
_CALLS = {"invoke", "ainvoke", "run", "arun", "call", "acall"}


def bound_in(node: ast.AST) -> list[ast.expr]:
    """Arguments of `bind_tools(…)`: tools that a model may ask for, not tools that run here."""
    calls = [each for each in ast.walk(node) if isinstance(each, ast.Call) and isinstance(each.func, ast.Attribute)]
    binding = [each for each in calls if getattr(each.func, "attr", "") == "bind_tools"]
    words = [word.value for call in binding for word in call.keywords if word.arg == "tools"]
    return [*(argument for call in binding for argument in call.args[:1]), *words]


def tool_names(source: Source, bound: list[ast.expr]) -> set[str]:
    names: set[str] = set()
    for argument in bound:
        items = argument.elts if isinstance(argument, ast.List | ast.Tuple) else [argument]
        for item in items:
            value: Any = source.lookup(item.value if isinstance(item, ast.Starred) else item)
            for tool in value if isinstance(value, list | tuple) else [] if value is MISSING else [value]:
                names.add(tool_name(tool))
    return names


def calls_tools(node: ast.AST) -> bool:
    """By the messages that tools answer with, or a call of what is picked out of a table or called a tool."""
    return any(_calls_one(each.func) for each in ast.walk(node) if isinstance(each, ast.Call))


def _calls_one(function: ast.expr) -> bool:
    match function:
        case ast.Name(id=name) | ast.Attribute(attr=name) if name in _RESULTS:
            return True
        case ast.Attribute(value=ast.Subscript(), attr=method) if method in _CALLS:
            return True
        case ast.Attribute(value=ast.Name(id=name) | ast.Attribute(attr=name), attr=method) if method in _CALLS:
            return bool(re.search("tool|func|search|retriev", name.lower())) and "llm" not in name.lower()
        case _:
            return False
