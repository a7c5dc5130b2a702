"""The functions of a module, what calls what, and in which order to treat them: callees before their callers."""

from collections.abc import Iterator, Mapping

from xdsl.dialects import func
from xdsl.dialects.builtin import ModuleOp
from xdsl.ir import Operation

from weft.compiler.dialects.agent import MapOp
from weft.core.errors import IRError

Functions = Mapping[str, func.FuncOp]


def functions_of(module: ModuleOp) -> Functions:
    return {op.sym_name.data: op for op in module.ops if isinstance(op, func.FuncOp)}


def callee_name(op: Operation) -> str | None:
    """The function that a call or a map runs; None for all other ops."""
    match op:
        case func.CallOp():
            return op.callee.string_value()
        case MapOp():
            return op.worker.string_value()
        case _:
            return None


def callee_of(op: Operation, functions: Functions) -> func.FuncOp | None:
    name = callee_name(op)
    if name is None:
        return None
    found = functions.get(name)
    if found is None or not found.body.blocks:
        raise IRError(
            subject=f"{op.name} @{name}",
            problem="calls no func.func with a body in this module",
            way_out=f"define @{name}, or call one of {sorted(functions)}",
        )
    return found


def callees_first(functions: Functions) -> tuple[func.FuncOp, ...]:
    """Refuses functions that come back to themselves: their steps cannot be counted or placed."""
    order: dict[str, func.FuncOp] = {}
    for name in functions:
        _visit(name, functions, order, ())
    return tuple(order.values())


def _visit(name: str, functions: Functions, order: dict[str, func.FuncOp], path: tuple[str, ...]) -> None:
    if name in path:
        circle = " → ".join(f"@{each}" for each in (*path[path.index(name) :], name))
        raise IRError(
            subject=f"function @{name}",
            problem=f"calls itself: {circle}",
            way_out="write the repetition as a loop with a bound (cf.cond_br and agent.at_most)",
        )
    if name in order:
        return
    for called in _called(functions[name], functions):
        _visit(called, functions, order, (*path, name))
    order[name] = functions[name]


def _called(function: func.FuncOp, functions: Functions) -> Iterator[str]:
    for op in function.body.walk():
        callee = callee_of(op, functions)
        if callee is not None:
            yield callee.sym_name.data


def drop_unused(module: ModuleOp) -> None:
    """Functions that no agent graph reaches."""
    functions = functions_of(module)
    todo = [each for each in functions.values() if "agent.graph" in each.attributes]
    kept = {each.sym_name.data for each in todo}
    while todo:
        called = {callee_name(op) for op in todo.pop().body.walk()} & functions.keys() - kept
        kept |= {name for name in called if name is not None}
        todo += [functions[name] for name in called if name is not None]
    for name, function in functions.items():
        if name not in kept:
            function.detach()
            function.erase(safe_erase=False)
