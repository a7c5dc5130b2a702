"""An agent that acts: a tool of its own, and a branch on what it gave.

The tool runs in a process of its own: without network, one second long, within 256 MiB of address space.
"""

import ast
from collections.abc import Callable, Mapping

from weft.agent import Text, ToolLimits, agent, branch, choice, data, tool

OPERATORS: Mapping[type[ast.operator], Callable[[float, float], float]] = {
    ast.Add: float.__add__,
    ast.Sub: float.__sub__,
    ast.Mult: float.__mul__,
    ast.Div: float.__truediv__,
}


@tool(core_s=0.01, limits=ToolLimits(timeout_s=1.0, memory_gib=0.25))
def calculate(question: Text) -> Text:
    try:
        return f"{value(ast.parse(question, mode='eval').body):g}"
    except (SyntaxError, ValueError, ZeroDivisionError) as error:
        return f"cannot: {error}"


def value(node: ast.expr) -> float:
    match node:
        case ast.Constant(value=int() | float() as number):
            return float(number)
        case ast.BinOp(left=left, op=op, right=right) if type(op) in OPERATORS:
            return OPERATORS[type(op)](value(left), value(right))
        case _:
            raise ValueError(f"{ast.unparse(node)} is no arithmetic")


@choice
def failed(answer: Text) -> bool:
    return answer.startswith("cannot")


@data
def explain(answer: Text) -> Text:
    return f"That is no sum I can do: {answer.removeprefix('cannot: ')}."


@data
def state(answer: Text) -> Text:
    return f"It is {answer}."


@agent
def sums(question: Text) -> Text:
    answer = calculate(question)
    if branch(failed(answer), probability=0.1):
        return explain(answer)
    return state(answer)
