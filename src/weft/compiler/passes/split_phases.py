"""split-phases: `llm.call` becomes `llm.prefill`, which makes the KV cache, and `llm.decode`, which reads it.

The two lean on different resources (compute against memory bandwidth), so they may be put on different devices.
The step `think` becomes `think.prefill` and `think.decode`; all its attributes go to both.
"""

from dataclasses import dataclass

from xdsl.context import Context
from xdsl.dialects.builtin import ModuleOp, StringAttr
from xdsl.passes import ModulePass
from xdsl.pattern_rewriter import PatternRewriter, PatternRewriteWalker, RewritePattern, op_type_rewrite_pattern

from weft.compiler.dialects.llm import CallOp, DecodeOp, PrefillOp
from weft.compiler.dialects.types import KvType


@dataclass(frozen=True)
class SplitPhases(ModulePass):
    name = "split-phases"

    def apply(self, ctx: Context, op: ModuleOp) -> None:
        PatternRewriteWalker(_SplitCall(), apply_recursively=False).rewrite_module(op)


class _SplitCall(RewritePattern):
    @op_type_rewrite_pattern
    def match_and_rewrite(self, op: CallOp, rewriter: PatternRewriter) -> None:
        step = op.step_name
        prefill = PrefillOp.build(
            operands=[op.messages],
            attributes={**op.attributes, "step": StringAttr(f"{step}.prefill")},
            result_types=[KvType(op.model)],
        )
        decode = DecodeOp.build(
            operands=[prefill.kv],
            attributes={**op.attributes, "step": StringAttr(f"{step}.decode")},
            result_types=[op.reply.type],
        )
        prefill.kv.name_hint = f"{step}_kv"
        rewriter.replace(op, [prefill, decode], [decode.reply])
