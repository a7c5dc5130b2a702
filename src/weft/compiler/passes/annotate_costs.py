"""annotate-costs: every step learns its `cost`, the resources that one visit uses (θ of the paper); see resources.py.

The planner prices devices, precisions and batches itself; this is for readers, and for passes that take steps apart.
"""

from dataclasses import dataclass

from xdsl.context import Context
from xdsl.dialects.builtin import ModuleOp
from xdsl.passes import ModulePass

from weft.compiler.dialects.step import StepOp
from weft.compiler.resources import Resources


@dataclass(frozen=True)
class AnnotateCosts(ModulePass):
    name = "annotate-costs"

    def apply(self, ctx: Context, op: ModuleOp) -> None:
        resources = Resources.of(op)
        for step in op.walk():
            if isinstance(step, StepOp):
                resources.note(step)
