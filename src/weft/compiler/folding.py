"""What step ops know of themselves: their folds and canonicalisation patterns, applied until nothing changes.

Only those of our dialects: upstream's patterns for `cf` know neither `agent.weights` nor `agent.at_most`.
"""

from xdsl.context import Context
from xdsl.dialects.builtin import ModuleOp
from xdsl.ir import Operation
from xdsl.pattern_rewriter import GreedyRewritePatternApplier, PatternRewriter, PatternRewriteWalker, RewritePattern
from xdsl.transforms.canonicalize import CanonicalizationRewritePattern

from weft.compiler.dialects.step import StepOp


def fold_steps(ctx: Context, module: ModuleOp) -> None:
    PatternRewriteWalker(_OfSteps(ctx)).rewrite_module(module)


class _OfSteps(RewritePattern):
    def __init__(self, ctx: Context) -> None:
        patterns: list[RewritePattern] = [CanonicalizationRewritePattern()]
        self._known = GreedyRewritePatternApplier(patterns, ctx=ctx, folding_enabled=True, dce_enabled=False)

    def match_and_rewrite(self, op: Operation, rewriter: PatternRewriter) -> None:
        if isinstance(op, StepOp):
            self._known.match_and_rewrite(op, rewriter)
