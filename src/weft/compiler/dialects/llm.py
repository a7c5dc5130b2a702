"""`llm`: calls of language models, the phases that they split into, and embeddings. See experts.py, collectives.py."""

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


@irdl_op_definition
class PrefillOp(SizedOp):
    """Reads the prompt: makes the KV cache and the first token, which travels with the cache."""

    name = "llm.prefill"

    messages = operand_def(AnyOf((BaseAttr(MessagesType), BaseAttr(HiddenType))))
    kv = result_def(AnyOf((BaseAttr(KvType), BaseAttr(HiddenType))))

    traits = traits_def(Pure())
    assembly_format = "$step `(` $messages `)` `model` $model attr-dict `:` functional-type(operands, results)"


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
