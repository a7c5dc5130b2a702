"""partition: steps of one block and pool that feed each other form one `partition`, called after its first step.

A partition is what one compiled artifact can hold: no value inside it leaves the pool.
"""

from dataclasses import dataclass

from xdsl.context import Context
from xdsl.dialects.builtin import ModuleOp, StringAttr
from xdsl.ir import Block
from xdsl.passes import ModulePass

from weft.compiler.control_flow import agent_graph, steps_of
from weft.compiler.dialects.step import StepOp
from weft.core.errors import IRError


@dataclass(frozen=True)
class Partition(ModulePass):
    name = "partition"

    def apply(self, ctx: Context, op: ModuleOp) -> None:
        for block in agent_graph(op).body.blocks:
            _partition_block(block)


def _partition_block(block: Block) -> None:
    for step in steps_of(block):
        if step.pool is None:
            raise _unplaced(step)
        step.partition = _joined_partition(step) or StringAttr(step.step_name)


def _joined_partition(step: StepOp) -> StringAttr | None:
    """The partition of the first producer in the same block and pool."""
    for operand in step.operands:
        producer = operand.owner
        if isinstance(producer, StepOp) and producer.parent is step.parent and producer.pool == step.pool:
            return producer.partition
    return None


def _unplaced(step: StepOp) -> IRError:
    return IRError(
        subject=f"step {step.step_name!r}",
        problem="has no pool",
        way_out="run the place pass before partition",
    )
