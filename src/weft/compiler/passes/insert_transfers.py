"""insert-transfers: where a decode runs in another pool than its prefill, a `kv.transfer` moves the cache between them.

It runs on the receiving pool, which pulls. Text, messages and audio need no op: they are small and travel with the run.
"""

from dataclasses import dataclass

from xdsl.context import Context
from xdsl.dialects.builtin import DictionaryAttr, ModuleOp, StringAttr
from xdsl.ir import Attribute
from xdsl.passes import ModulePass
from xdsl.rewriter import InsertPoint, Rewriter

from weft.compiler.dialects.kv import TransferOp
from weft.compiler.dialects.llm import DecodeOp
from weft.core.errors import IRError


@dataclass(frozen=True)
class InsertTransfers(ModulePass):
    name = "insert-transfers"

    def apply(self, ctx: Context, op: ModuleOp) -> None:
        for step in [each for each in op.walk() if isinstance(each, DecodeOp)]:
            if step.handoff is not None and not isinstance(step.kv.owner, TransferOp):
                _move_cache(step, step.handoff)


def _move_cache(decode: DecodeOp, handoff: DictionaryAttr) -> None:
    name = f"{decode.step_name.removesuffix('.decode')}.kv"
    transfer = TransferOp.build(
        operands=[decode.kv],
        attributes=_transfer_attributes(decode, handoff) | {"step": StringAttr(name)},
        result_types=[decode.kv.type],
    )
    transfer.moved.name_hint = decode.kv.name_hint
    Rewriter.insert_op(transfer, InsertPoint.before(decode))
    decode.operands[0] = transfer.moved
    del decode.attributes["handoff"]


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
