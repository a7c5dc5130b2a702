"""stream-edges: a reply that is spoken comes in chunks, a sentence each, so that speech begins before the last word.

A model's reply becomes `!agent.stream` if a `media.synthesize` of the same block speaks it, and no jump or return needs
it whole; steps that are not made for chunks still get all of it at once. The planner then overlaps the two (the first
chunk of text, then speech beside text, then the speech of the last chunk).

Opt-in: where a program does not say `chunk_tokens` itself, nothing says that its runtime speaks by the sentence.

Preserves: the agent's result, visits, θ; changes only when values come.
"""

from dataclasses import dataclass

from xdsl.context import Context
from xdsl.dialects.builtin import IntegerAttr, ModuleOp, i64
from xdsl.passes import ModulePass
from xdsl.rewriter import Rewriter
from xdsl.traits import IsTerminator

from weft.compiler.dialects.llm import CallOp, DecodeOp
from weft.compiler.dialects.media import SynthesizeOp
from weft.compiler.dialects.types import StreamType, TextType
from weft.core.errors import IRError


@dataclass(frozen=True)
class StreamEdges(ModulePass):
    name = "stream-edges"

    chunk_tokens: int = 20
    """Of a sentence."""

    def apply(self, ctx: Context, op: ModuleOp) -> None:
        if self.chunk_tokens < 1:
            raise IRError(
                subject="stream-edges",
                problem=f"chunk-tokens is {self.chunk_tokens}, must be at least 1",
                way_out="give the tokens of a sentence, e.g. stream-edges{chunk-tokens=20}",
            )
        for step in op.walk():
            if isinstance(step, CallOp | DecodeOp) and _pays(step, self.chunk_tokens) and _may(step):
                step.chunk_tokens = IntegerAttr(self.chunk_tokens, i64)
                Rewriter.replace_value_with_new_type(step.reply, StreamType(TextType()))


def _pays(step: CallOp | DecodeOp, chunk_tokens: int) -> bool:
    spoken = any(
        isinstance(use.operation, SynthesizeOp) and use.operation.parent is step.parent for use in step.reply.uses
    )
    return spoken and step.osl.value.data > chunk_tokens


def _may(step: CallOp | DecodeOp) -> bool:
    whole = isinstance(step.reply.type, TextType)
    return whole and not any(use.operation.has_trait(IsTerminator) for use in step.reply.uses)
