"""insert-transfers: where a decode runs in another pool than its prefill, a `kv.transfer` moves the cache between them.

It runs on the receiving pool, which pulls. Text, messages and audio need no op: they are small and travel with the run.
"""

from dataclasses import dataclass

from xdsl.context import Context
from xdsl.dialects.builtin import DictionaryAttr, ModuleOp, StringAttr
from xdsl.ir import Attribute
from xdsl.passes import ModulePass
from xdsl.pattern_rewriter import PatternRewriter, PatternRewriteWalker, RewritePattern, op_type_rewrite_pattern
from xdsl.rewriter import InsertPoint

from weft.compiler.dialects.kv import TransferOp
from weft.compiler.dialects.llm import DecodeOp
from weft.core.errors import IRError


@dataclass(frozen=True)
class InsertTransfers(ModulePass):
    name = "insert-transfers"

    def apply(self, ctx: Context, op: ModuleOp) -> None:
        PatternRewriteWalker(_MoveCache(), apply_recursively=False).rewrite_module(op)


class _MoveCache(RewritePattern):
    @op_type_rewrite_pattern
    def match_and_rewrite(self, op: DecodeOp, rewriter: PatternRewriter) -> None:
        if op.handoff is None or isinstance(op.kv.owner, TransferOp):
            return
        step = f"{op.step_name.removesuffix('.decode')}.kv"
        transfer = TransferOp.build(
            operands=[op.kv],
            attributes=_transfer_attributes(op, op.handoff) | {"step": StringAttr(step)},
            result_types=[op.kv.type],
        )
        transfer.moved.name_hint = op.kv.name_hint
        rewriter.insert(transfer, InsertPoint.before(op))
        op.operands[0] = transfer.moved
        del op.attributes["handoff"]
        rewriter.notify_op_modified(op)


def _transfer_attributes(decode: DecodeOp, handoff: DictionaryAttr) -> dict[str, Attribute]:
    """Link and bytes are the op's own; the rest of the hand-off is what the planner assumed of it."""
    details = dict(handoff.data)
    if not {"link", "bytes"} <= details.keys():
        raise IRError(
            subject=f"step {decode.step_name!r}",
            problem=f"hand-off says {sorted(details)}, link and bytes are needed",
            way_out="let the place pass write it",
        )
    own = {"link": details.pop("link"), "bytes": details.pop("bytes"), "assumed": DictionaryAttr(details)}
    shared = {key: decode.attributes[key] for key in ("visits", "pool") if key in decode.attributes}
    return {**own, **shared}
