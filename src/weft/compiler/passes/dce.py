"""dce: steps whose results nobody uses, and that do nothing else, go; and so what only they needed.

Tools that write stay, and people who are asked; see `weft.compiler.effects`. A model's reply that nobody reads is no
effect: the call goes, and its cost with it.

Preserves: the agent's result; the expected visits and θ of the steps that stay.
"""

from dataclasses import dataclass

from xdsl.context import Context
from xdsl.dialects import func
from xdsl.dialects.builtin import ModuleOp
from xdsl.ir import Operation
from xdsl.passes import ModulePass
from xdsl.traits import IsTerminator

from weft.compiler.effects import Effect, Effects
from weft.compiler.rewriting import erase


@dataclass(frozen=True)
class Dce(ModulePass):
    name = "dce"

    def apply(self, ctx: Context, op: ModuleOp) -> None:
        effects = Effects(op)
        for function in op.ops:
            if isinstance(function, func.FuncOp):
                _drop_dead(function, effects)


def _drop_dead(function: func.FuncOp, effects: Effects) -> None:
    """From the last to the first; a step that went may leave others without a use."""
    todo = list(function.body.walk())
    while todo:
        op = todo.pop()
        if op.parent is None or not _is_dead(op, effects):
            continue
        todo += [operand.owner for operand in op.operands if isinstance(operand.owner, Operation)]
        erase(op)


def _is_dead(op: Operation, effects: Effects) -> bool:
    used = any(result.first_use is not None for result in op.results)
    return not used and not op.has_trait(IsTerminator) and effects.of(op) < Effect.WRITES
