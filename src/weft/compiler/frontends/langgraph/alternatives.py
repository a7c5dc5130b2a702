"""Calls of which a run makes one: `if hosted: llm = ChatOpenAI(…)`, `else: llm = ChatOllama(…)`."""

import ast
from collections.abc import Iterable, Sequence

from weft.compiler.frontends.langgraph.source import FunctionNode


def alternative(function: FunctionNode, call: ast.Call, others: Iterable[ast.Call]) -> str | None:
    """The text of the first among `others` that stands in another arm of an `if` or `match` of the function."""
    choices = [arms for each in ast.walk(function) if len(arms := _arms(each)) > 1]
    for other in others:
        for arms in choices:
            mine, its = _holding(arms, call), _holding(arms, other)
            if mine is not None and its is not None and mine != its:
                return " ".join(ast.unparse(other).split())[:80]
    return None


def _arms(node: ast.AST) -> list[list[ast.stmt]]:
    match node:
        case ast.If(body=body, orelse=orelse):
            return [body, orelse] if orelse else []
        case ast.Match(cases=cases):
            return [case.body for case in cases]
        case _:
            return []


def _holding(arms: Sequence[list[ast.stmt]], node: ast.AST) -> int | None:
    """Which arm the node stands in."""
    inside = (at for at, arm in enumerate(arms) if any(each is node for one in arm for each in ast.walk(one)))
    return next(inside, None)
