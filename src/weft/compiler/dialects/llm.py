"""`llm`: calls of language models, the phases that they split into, and embeddings. See experts.py, collectives.py."""

from abc import ABC

from xdsl.dialects.builtin import StringAttr
from xdsl.ir import Dialect
from xdsl.irdl import AnyOf, BaseAttr, attr_def, irdl_op_definition, operand_def, result_def, traits_def
from xdsl.traits import Pure

from weft.compiler.dialects.collectives import AllGatherOp, AllReduceOp
from weft.compiler.dialects.experts import ExpertDecodeOp, ExpertPrefillOp, GateSelectOp, MergeExpertsOp
from weft.compiler.dialects.sized import SizedOp
from weft.compiler.dialects.step import CpuOp
from weft.compiler.dialects.types import (
    TEXT,
    DocsType,
    EmbeddingType,
    HiddenType,
    KvType,
    MessagesType,
    StreamType,
    TextType,
)


@irdl_op_definition
class CallOp(SizedOp):
    """`%reply = llm.call "think"(%chat) model "llama-3-8b" {isl = 350, …}`: a whole inference."""

    name = "llm.call"

    messages = operand_def(MessagesType)
    reply = result_def(TEXT)

    assembly_format = "$step `(` $messages `)` `model` $model attr-dict `:` functional-type(operands, results)"

    def verify_(self) -> None:
        super().verify_()
        _check_stream(self, self.reply.type)


class PromptOp(SizedOp, ABC):
    """Reads a prompt: makes the KV cache and the first token, which travels with the cache."""

    messages = operand_def(AnyOf((BaseAttr(MessagesType), BaseAttr(HiddenType))))
    kv = result_def(AnyOf((BaseAttr(KvType), BaseAttr(HiddenType))))

    traits = traits_def(Pure())


@irdl_op_definition
class PrefillOp(PromptOp):
    """`%kv = llm.prefill "think.prefill"(%chat) model "m" {…}`: the whole prompt."""

    name = "llm.prefill"

    assembly_format = "$step `(` $messages `)` `model` $model attr-dict `:` functional-type(operands, results)"


@irdl_op_definition
class PrefixOp(SizedOp):
    """`%kv = llm.prefix "rules.prefix" model "m" {prefix = "rules", prefix_tokens = 800, isl = 800, …}`: the cache of
    what prompts begin with; it waits for nothing."""

    name = "llm.prefix"

    kv = result_def(KvType)

    traits = traits_def(Pure())
    assembly_format = "$step `model` $model attr-dict `:` type($kv)"

    def verify_(self) -> None:
        super().verify_()
        if self.prefix_tokens is None or self.prefix_tokens.value.data != self.isl.value.data:
            raise self.refusal("is not all prefix", "give prefix, and isl = prefix_tokens")


@irdl_op_definition
class ExtendOp(PromptOp):
    """`%kv = llm.extend "think.prefill"(%prefix, %chat) model "m" {…}`: a prefill that goes on after the prefix, whose
    cache it copies: of `isl` tokens it works on all but `prefix_tokens`."""

    name = "llm.extend"

    begun = operand_def(KvType)

    assembly_format = (
        "$step `(` $begun `,` $messages `)` `model` $model attr-dict `:` functional-type(operands, results)"
    )

    def verify_(self) -> None:
        super().verify_()
        if self.prefix is None:
            raise self.refusal("extends a prefix without a name", "give prefix and prefix_tokens")
        origin = self.begun.owner
        if isinstance(origin, PrefixOp) and origin.prefix != self.prefix:
            raise self.refusal(f"begins with {self.prefix}, not with {origin.prefix}", "extend the prefix that it has")


@irdl_op_definition
class DecodeOp(SizedOp):
    """Writes the reply token by token from a KV cache."""

    name = "llm.decode"

    kv = operand_def(AnyOf((BaseAttr(KvType), BaseAttr(HiddenType))))
    reply = result_def(AnyOf((BaseAttr(TextType), BaseAttr(StreamType), BaseAttr(HiddenType))))

    assembly_format = "$step `(` $kv `)` `model` $model attr-dict `:` functional-type(operands, results)"

    def verify_(self) -> None:
        super().verify_()
        if not isinstance(self.reply.type, HiddenType):
            _check_stream(self, self.reply.type)


@irdl_op_definition
class EmbedOp(CpuOp):
    """`%vector = llm.embed "embed"(%question) model "bge-small" {core_s = …}`: text or passages as a vector.

    Embedding models are small: they are priced by their time on a core, like speech (`media`)."""

    name = "llm.embed"

    text = operand_def(AnyOf((BaseAttr(TextType), BaseAttr(StreamType), BaseAttr(DocsType))))
    model = attr_def(StringAttr)
    vector = result_def(EmbeddingType)

    traits = traits_def(Pure())
    assembly_format = "$step `(` $text `)` `model` $model attr-dict `:` functional-type(operands, results)"


def _check_stream(step: SizedOp, reply_type: object) -> None:
    if isinstance(reply_type, StreamType) != (step.chunk_tokens is not None):
        problem = "a reply is a stream if the step says its chunk_tokens, and only then"
        raise step.refusal(problem, "give chunk_tokens and !agent.stream<…>, or neither")


LlmDialect = Dialect(
    "llm",
    [
        CallOp,
        PrefillOp,
        PrefixOp,
        ExtendOp,
        DecodeOp,
        EmbedOp,
        GateSelectOp,
        ExpertPrefillOp,
        ExpertDecodeOp,
        MergeExpertsOp,
        AllReduceOp,
        AllGatherOp,
    ],
    [KvType, HiddenType],
)
