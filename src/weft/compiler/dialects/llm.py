"""`llm`: calls of language models, and the phases that they split into."""

from xdsl.dialects.builtin import ArrayAttr, IntegerAttr, StringAttr
from xdsl.ir import Dialect
from xdsl.irdl import attr_def, irdl_op_definition, operand_def, opt_attr_def, result_def, traits_def
from xdsl.traits import Pure
from xdsl.utils.exceptions import VerifyException

from weft.compiler.dialects.step import StepOp
from weft.compiler.dialects.types import TEXT, KvType, MessagesType, StreamType


class SizedOp(StepOp):
    """A model step with mean sizes: `isl` prompt tokens, `osl` reply tokens, never more than `max_tokens`.

    It may run any of `models`, if they are given; `model` is the first of them until the place pass has chosen. With
    `chunk_tokens` the reply is a stream, so many tokens a chunk.
    """

    model = attr_def(StringAttr)
    models = opt_attr_def(ArrayAttr[StringAttr])
    chunk_tokens = opt_attr_def(IntegerAttr)
    isl = attr_def(IntegerAttr)
    osl = attr_def(IntegerAttr)
    max_tokens = attr_def(IntegerAttr)

    @property
    def model_names(self) -> tuple[str, ...]:
        return (self.model.data,) if self.models is None else tuple(each.data for each in self.models)

    def verify_(self) -> None:
        super().verify_()
        names = self.model_names
        if not names or names[0] != self.model.data or len(set(names)) < len(names):
            raise VerifyException(
                f"{self.step_name}: models are {list(names)}, {self.model.data} must be first, each once"
            )
        sizes = {"isl": self.isl, "osl": self.osl, "max_tokens": self.max_tokens}
        if self.chunk_tokens is not None:
            sizes["chunk_tokens"] = self.chunk_tokens
        for label, size in sizes.items():
            if size.value.data <= 0:
                raise VerifyException(f"{self.step_name}: {label} is {size.value.data}, must be above 0")


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

    messages = operand_def(MessagesType)
    kv = result_def(KvType)

    traits = traits_def(Pure())
    assembly_format = "$step `(` $messages `)` `model` $model attr-dict `:` functional-type(operands, results)"

    def verify_(self) -> None:
        super().verify_()
        _check_model(self.step_name, self.model, self.kv.type)


@irdl_op_definition
class DecodeOp(SizedOp):
    """Writes the reply token by token from a KV cache."""

    name = "llm.decode"

    kv = operand_def(KvType)
    reply = result_def(TEXT)

    assembly_format = "$step `(` $kv `)` `model` $model attr-dict `:` functional-type(operands, results)"

    def verify_(self) -> None:
        super().verify_()
        _check_model(self.step_name, self.model, self.kv.type)
        _check_stream(self, self.reply.type)


def _check_stream(step: SizedOp, reply_type: object) -> None:
    if isinstance(reply_type, StreamType) != (step.chunk_tokens is not None):
        raise VerifyException(f"{step.step_name}: a reply is a stream if the step says its chunk_tokens, and only then")


def _check_model(step: str, model: StringAttr, kv_type: object) -> None:
    assert isinstance(kv_type, KvType)
    if kv_type.model != model:
        raise VerifyException(f"{step}: runs {model.data} on a KV cache of {kv_type.model.data}; use one model")


LlmDialect = Dialect("llm", [CallOp, PrefillOp, DecodeOp], [KvType])
