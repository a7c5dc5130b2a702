"""fuse-data: a data step and the only one that reads it, and nothing else, become one: `function "trim | lower"`.

A data step costs microseconds, a hop to a node a millisecond. The fused step is called after the second, whose value
it makes; its work is the sum of both. Only pure functions on one block are fused, and only under one placement wish.

Preserves: the agent's result; the total θ (core seconds add up).
"""

from dataclasses import dataclass
from math import hypot

from xdsl.context import Context
from xdsl.dialects import func
from xdsl.dialects.builtin import FloatAttr, ModuleOp, StringAttr, f64
from xdsl.ir import Attribute
from xdsl.passes import ModulePass

from weft.compiler.dialects.data import ApplyOp
from weft.compiler.effects import Effect, own_effect
from weft.compiler.rewriting import erase
from weft.core.program import THEN

KNOWN = frozenset({"step", "function", "core_s", "hint", "variation", "effect", "agent.provenance", "visits", "cost"})
"""A second step that is told more than this is a function of its own."""


@dataclass(frozen=True)
class FuseData(ModulePass):
    name = "fuse-data"

    def apply(self, ctx: Context, op: ModuleOp) -> None:
        for function in op.ops:
            if isinstance(function, func.FuncOp):
                for step in list(function.body.walk()):
                    if isinstance(step, ApplyOp):
                        _fuse_into(step)


def _fuse_into(second: ApplyOp) -> None:
    """Chains fuse from their start, so a first step may be a fused one."""
    if len(second.inputs) != 1 or not isinstance(first := second.inputs[0].owner, ApplyOp):
        return
    if not _may_fuse(first, second):
        return
    fused = ApplyOp.build(
        operands=[list(first.inputs)],
        attributes={**_kept(first), **_kept(second), **_work(first, second)},
        result_types=[second.output.type],
    )
    fused.output.name_hint = second.output.name_hint
    block = second.parent
    assert block is not None
    block.insert_op_before(fused, second)
    second.output.replace_all_uses_with(fused.output)
    for op in (second, first):
        erase(op)


def _kept(step: ApplyOp) -> dict[str, Attribute]:
    """All but what is no longer true of both."""
    return {key: value for key, value in step.attributes.items() if key != "cost"}


def _may_fuse(first: ApplyOp, second: ApplyOp) -> bool:
    together = first.parent is second.parent and first.output.has_one_use()
    pure = own_effect(first) is Effect.NONE and own_effect(second) is Effect.NONE
    return together and pure and first.hint == second.hint and second.attributes.keys() <= KNOWN


def _work(first: ApplyOp, second: ApplyOp) -> dict[str, FloatAttr | StringAttr]:
    """Of two steps one after the other, whose times vary independently."""
    one_s, other_s = (each.core_s.value.data for each in (first, second))
    deviation_s = hypot(
        *(each.variation.value.data * each.core_s.value.data for each in (first, second) if each.variation)
    )
    varies = {"variation": FloatAttr(deviation_s / (one_s + other_s), f64)} if deviation_s else {}
    function = StringAttr(f"{first.function.data}{THEN}{second.function.data}")
    return {"function": function, "core_s": FloatAttr(round(one_s + other_s, 12), f64), **varies}
