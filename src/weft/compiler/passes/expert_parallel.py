"""expert-parallel: the experts of a phase (see decompose-moe) that run with ep > 1 become `ep` groups, side by side.

Of `think.prefill.experts` come `think.prefill.experts[0]`, …, each with its range of the experts of every layer, on
tp · dp / ep devices; the merge takes all of them.

Preserves: the result, and θ: the costs of the groups add up to that of all experts.
"""

from dataclasses import dataclass
from itertools import pairwise

from xdsl.context import Context
from xdsl.dialects.builtin import ModuleOp, StringAttr
from xdsl.passes import ModulePass
from xdsl.pattern_rewriter import PatternRewriter, PatternRewriteWalker, RewritePattern, op_type_rewrite_pattern
from xdsl.rewriter import InsertPoint

from weft.compiler.dialects.experts import ExpertDecodeOp, ExpertOp, ExpertPrefillOp, MergeExpertsOp
from weft.compiler.parts import finish, says
from weft.compiler.resources import Resources
from weft.core.errors import IRError


@dataclass(frozen=True)
class ExpertParallel(ModulePass):
    name = "expert-parallel"

    def apply(self, ctx: Context, op: ModuleOp) -> None:
        PatternRewriteWalker(_Groups(Resources.of(op)), apply_recursively=False).rewrite_module(op)


@dataclass
class _Groups(RewritePattern):
    resources: Resources

    @op_type_rewrite_pattern
    def match_and_rewrite(self, op: ExpertPrefillOp | ExpertDecodeOp, rewriter: PatternRewriter) -> None:
        ways = self.resources.parallelism(op).ep
        routed = self.resources.visit(op).model.experts
        if op.experts is not None or ways == 1 or routed is None:
            return
        if ways > routed.count:
            problem = f"has {routed.count} experts in {ways} groups"
            raise IRError(subject=f"step {op.step_name!r}", problem=problem, way_out="give a smaller ep")
        cuts = [routed.count * group // ways for group in range(ways + 1)]
        groups = [_group(op, number, range(*cut)) for number, cut in enumerate(pairwise(cuts))]
        finish(groups, op, self.resources)
        rewriter.insert(groups, InsertPoint.before(op))
        for use in tuple(op.worked.uses):
            assert isinstance(use.operation, MergeExpertsOp)
            operands = [each for each in use.operation.operands if each is not op.worked]
            use.operation.operands = [*operands, *(group.worked for group in groups)]
            rewriter.notify_op_modified(use.operation)
        rewriter.erase(op)


def _group(op: ExpertOp, number: int, experts: range) -> ExpertOp:
    attributes = says(op, "", first_expert=experts.start, experts=len(experts))
    attributes["step"] = StringAttr(f"{op.step_name}[{number}]")
    return type(op).build(operands=[op.tokens], attributes=attributes, result_types=[op.worked.type])
