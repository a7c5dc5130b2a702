"""block-frequency: every step learns its `visits`, the expected runs per agent run. Adds attributes only."""

from dataclasses import dataclass

from xdsl.context import Context
from xdsl.dialects.builtin import FloatAttr, ModuleOp, f64
from xdsl.passes import ModulePass

from weft.compiler.control_flow import agent_graph, steps_of
from weft.compiler.frequency import block_visits


@dataclass(frozen=True)
class BlockFrequency(ModulePass):
    name = "block-frequency"

    def apply(self, ctx: Context, op: ModuleOp) -> None:
        for block, visits in block_visits(agent_graph(op)).items():
            for step in steps_of(block):
                step.visits = FloatAttr(visits, f64)
