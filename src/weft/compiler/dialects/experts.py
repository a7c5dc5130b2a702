"""`llm`, inside a mixture of experts: the parts that a phase splits into (Figure 7 of the paper).

Each op stands for all layers (of a stage) and all tokens of a phase: gate (attention, norms, router, dense and shared
FFNs, head) → experts → merge, and where several devices share the work an all-reduce. `tp`, `dp` and `ep` are those of
the replica.
"""

from abc import ABC

from xdsl.dialects.builtin import IntegerAttr, StringAttr
from xdsl.irdl import (
    AnyOf,
    BaseAttr,
    attr_def,
    irdl_op_definition,
    operand_def,
    opt_attr_def,
    result_def,
    traits_def,
    var_operand_def,
)
from xdsl.traits import Pure

from weft.compiler.dialects.sized import ModelOp, check_part
from weft.compiler.dialects.types import HiddenType, KvType, MessagesType, StreamType, TextType

PHASES = ("prefill", "decode")
PHASE_INPUT = AnyOf((BaseAttr(MessagesType), BaseAttr(KvType), BaseAttr(HiddenType)))
PHASE_OUTPUT = AnyOf((BaseAttr(KvType), BaseAttr(TextType), BaseAttr(StreamType), BaseAttr(HiddenType)))


class PartOp(ModelOp, ABC):
    """A part of a phase on a replica."""

    tp = opt_attr_def(IntegerAttr)
    dp = opt_attr_def(IntegerAttr)
    ep = opt_attr_def(IntegerAttr)

    @property
    def decodes(self) -> bool:
        """Which phase it is a part of."""
        raise NotImplementedError

    def verify_(self) -> None:
        super().verify_()
        self.check_above(0, tp=self.tp, dp=self.dp, ep=self.ep)


class PhasedOp(PartOp, ABC):
    """A part that both phases have."""

    phase = attr_def(StringAttr)

    @property
    def decodes(self) -> bool:
        return self.phase.data == "decode"

    def verify_(self) -> None:
        super().verify_()
        if self.phase.data not in PHASES:
            raise self.refusal(f"phase is {self.phase.data!r}", f"choose among {', '.join(PHASES)}")


@irdl_op_definition
class GateSelectOp(PhasedOp):
    """`%h = llm.gate_select "think.prefill.gate"(%chat) phase "prefill" model "mixtral-8x7b" {…}`: all of a phase but
    its routed experts, and the choice of experts for each token."""

    name = "llm.gate_select"

    source = operand_def(PHASE_INPUT)
    routed = result_def(HiddenType)

    traits = traits_def(Pure())
    assembly_format = (
        "$step `(` $source `)` `phase` $phase `model` $model attr-dict `:` functional-type(operands, results)"
    )

    def verify_(self) -> None:
        super().verify_()
        takes = MessagesType if self.phase.data == "prefill" else KvType
        if not isinstance(self.source.type, takes | HiddenType):
            raise self.refusal(f"gates a {self.phase.data} from {self.source.type}", f"give it !{takes.name}")


class ExpertOp(PartOp, ABC):
    """All routed experts, or `experts` of each layer beginning with `first_expert`."""

    tokens = operand_def(HiddenType)
    first_expert = opt_attr_def(IntegerAttr)
    experts = opt_attr_def(IntegerAttr)
    worked = result_def(HiddenType)

    traits = traits_def(Pure())
    assembly_format = "$step `(` $tokens `)` `model` $model attr-dict `:` functional-type(operands, results)"

    def verify_(self) -> None:
        super().verify_()
        check_part(self, "experts", self.first_expert, self.experts)


@irdl_op_definition
class ExpertPrefillOp(ExpertOp):
    """The experts over the tokens of prompts: bound by arithmetic."""

    name = "llm.expert_prefill"

    @property
    def decodes(self) -> bool:
        return False


@irdl_op_definition
class ExpertDecodeOp(ExpertOp):
    """The experts over one token of each sequence, for each token of the reply: bound by memory bandwidth."""

    name = "llm.expert_decode"

    @property
    def decodes(self) -> bool:
        return True


@irdl_op_definition
class MergeExpertsOp(PhasedOp):
    """Weighs and adds up what the experts made, onto the residual stream. Its result is that of the phase: the cache of
    a prefill, the reply of a decode."""

    name = "llm.merge_experts"

    worked = var_operand_def(HiddenType)
    merged = result_def(PHASE_OUTPUT)

    traits = traits_def(Pure())
    assembly_format = (
        "$step `(` $worked `)` `phase` $phase `model` $model attr-dict `:` functional-type(operands, results)"
    )

    def verify_(self) -> None:
        super().verify_()
        if not self.worked:
            raise self.refusal("merges nothing", "give it the results of the experts")
        if isinstance(self.merged.type, HiddenType):
            return  # to the next stage
        if (self.phase.data == "prefill") != isinstance(self.merged.type, KvType):
            raise self.refusal(f"a {self.phase.data} gives {self.merged.type}", "prefill gives !llm.kv, decode text")
