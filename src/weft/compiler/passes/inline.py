"""inline: every `func.call` becomes the body of its function, so that one graph holds all steps of the agent.

A step `think` of the call `ask` is called `ask/think`. A call is known by its `step` attribute, else by its function,
else (where one function is called several times) by `function@2`, …; a hint on the call is the hint of all its steps.
A function of one block goes in place; one with control flow cuts the block around the call in two, and so does one with
effects, which what follows the call has to come after. Functions that nothing calls any more go. A function that calls
itself is refused.

Preserves: the agent's result; the expected visits of each step, except that a bounded loop of a function that is
called several times in one run keeps one count, as all loops of a graph do.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from xdsl.context import Context
from xdsl.dialects import func
from xdsl.dialects.builtin import ModuleOp, StringAttr
from xdsl.ir import Block, SSAValue
from xdsl.passes import ModulePass

from weft.compiler.attributes import spelled
from weft.compiler.control_flow import block_name
from weft.compiler.dialects.step import StepOp
from weft.compiler.effects import Effect, Effects
from weft.compiler.functions import Functions, callee_of, callees_first, drop_unused, functions_of
from weft.compiler.rewriting import cut_after, erase, go_on, returns_to

SEPARATOR = "/"
"""Between the names of a call and of a step in it."""


@dataclass(frozen=True)
class Inline(ModulePass):
    name = "inline"

    def apply(self, ctx: Context, op: ModuleOp) -> None:
        functions, effects = functions_of(op), Effects(op)
        for function in callees_first(functions):
            calls = [each for each in function.body.walk() if isinstance(each, func.CallOp)]
            named = list(zip(calls, _places(calls), strict=True))
            for call, place in reversed(named):  # what comes after a call is moved once
                _inline(call, place, functions, effects.of(call))
        drop_unused(op)


def _places(calls: Sequence[func.CallOp]) -> list[str]:
    seen: Counter[str] = Counter()
    places: list[str] = []
    for call in calls:
        told = call.attributes.get("step")
        name = told.data if isinstance(told, StringAttr) else call.callee.string_value()
        seen[name] += 1
        places.append(name if seen[name] == 1 else f"{name}@{seen[name]}")
    return places


def _inline(call: func.CallOp, place: str, functions: Functions, effect: Effect) -> None:
    callee = callee_of(call, functions)
    assert callee is not None
    body = callee.body.clone()
    for step in body.walk():
        if isinstance(step, StepOp):
            step.step = StringAttr(f"{place}{SEPARATOR}{step.step_name}")
            if "hint" in call.attributes and step.hint is None:
                step.attributes["hint"] = call.attributes["hint"]
    blocks = list(body.blocks)
    if len(blocks) == 1 and effect < Effect.READS:
        _in_place(call, blocks[0])
        return
    for block, original in zip(blocks, callee.body.blocks, strict=True):  # a clone has no labels
        body.detach_block(block)
        is_first = original is callee.body.blocks.first
        block.name_hint = spelled(f"{place}.{'enter' if is_first else block_name(original)}")
    _between(call, blocks, spelled(f"{place}.after"))


def _in_place(call: func.CallOp, body: Block) -> None:
    block = call.parent
    assert block is not None
    for argument, operand in zip(body.args, call.operands, strict=True):
        argument.replace_all_uses_with(operand)
    for op in list(body.ops):
        op.detach()
        if isinstance(op, func.ReturnOp):
            _replace(call, op.operands)
            op.erase()
        else:
            block.insert_op_before(op, call)


def _between(call: func.CallOp, blocks: Sequence[Block], label: str) -> None:
    """The callee's blocks between the two halves of the call's block; its results are the second half's arguments."""
    block = call.parent
    assert block is not None and block.parent is not None
    after = cut_after(call, label)
    for result in call.results:
        after.insert_arg(result.type, len(after.args))
    for each in blocks:
        returns_to(each, after)
    block.parent.insert_block_after(blocks, block)
    operands = list(call.operands)
    _replace(call, after.args)
    go_on(block, blocks[0], *operands)


def _replace(call: func.CallOp, values: Iterable[SSAValue]) -> None:
    for result, value in zip(call.results, list(values), strict=True):
        value.name_hint = value.name_hint or result.name_hint
        result.replace_all_uses_with(value)
    erase(call)
