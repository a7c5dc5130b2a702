"""speculate: a read-only tool behind a choice starts before it; its result is used only if the choice asks for it.

What moves is a tool that declares to write nothing (`effect = "reads"` or "none", or a corpus), with the data steps
that only make its query, out of a block that is entered by one choice, into the block that chooses, if that writes
nothing. There it runs beside the model whose reply the choice looks at. The steps are marked `speculative`.

Opt-in, because it costs: the tool runs as often as the choice is made, not as often as it is wanted; the plan counts
that. `least_chance` is how likely the way to the tool must be. A run leaves a block when all of its steps have ended,
so a tool that is slower than the choice delays the other ways too; the plan counts that as well.

Preserves: the agent's result. Visits and θ of the moved steps go up, by 1 / the chance of their way.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from xdsl.context import Context
from xdsl.dialects.builtin import IntegerAttr, ModuleOp, i64
from xdsl.ir import Block, Operation, SSAValue
from xdsl.passes import ModulePass
from xdsl.traits import IsTerminator

from weft.compiler.control_flow import Jump, agent_graph, jump_of
from weft.compiler.dialects.data import ApplyOp
from weft.compiler.dialects.tool import ToolOp
from weft.compiler.effects import Effect, Effects
from weft.core.errors import IRError


@dataclass(frozen=True)
class Speculate(ModulePass):
    name = "speculate"

    least_chance: float = 0.5

    def apply(self, ctx: Context, op: ModuleOp) -> None:
        if not 0 <= self.least_chance <= 1:
            raise IRError(
                subject="speculate",
                problem=f"least-chance is {self.least_chance}, must be from 0 to 1",
                way_out="give a probability, e.g. speculate{least-chance=0.5}",
            )
        effects = Effects(op)
        for block in agent_graph(op).body.blocks:
            jump = jump_of(block)
            if jump.selector is None or _writes(block, effects):
                continue
            for way, chance in enumerate(jump.probabilities):
                if chance >= self.least_chance:
                    _start_early(block, jump, way, effects)


def _writes(block: Block, effects: Effects) -> bool:
    return any(effects.of(op) is Effect.WRITES for op in block.ops if not op.has_trait(IsTerminator))


def _start_early(block: Block, jump: Jump, way: int, effects: Effects) -> None:
    target, arguments = jump.targets[way]
    if target is block or len(target.predecessors()) != 1:
        return
    known: dict[SSAValue, SSAValue] = dict(zip(target.args, arguments, strict=True))
    end = block.last_op
    assert end is not None
    for tool in [op for op in target.ops if isinstance(op, ToolOp) and effects.of(op) < Effect.WRITES]:
        moved = _with_query(tool, target, effects)
        for op in moved or ():
            op.operands = [known.get(operand, operand) for operand in op.operands]
            op.attributes["speculative"] = IntegerAttr(1, i64)
            op.detach()
            block.insert_op_before(op, end)


def _with_query(tool: Operation, block: Block, effects: Effects) -> Sequence[Operation] | None:
    """The tool and the steps of its block that make its query, in order; None where these are more than data steps."""
    needed: dict[Operation, None] = {tool: None}
    todo: list[SSAValue] = list(tool.operands)
    while todo:
        maker = todo.pop().owner
        if not isinstance(maker, Operation) or maker.parent is not block or maker in needed:
            continue
        if not isinstance(maker, ApplyOp) or effects.of(maker) is not Effect.NONE:
            return None
        needed[maker] = None
        todo += maker.operands
    return [op for op in block.ops if op in needed]
