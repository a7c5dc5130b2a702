"""`tool`: what an agent calls outside its models."""

from abc import ABC

from xdsl.dialects.builtin import FloatAttr, StringAttr
from xdsl.ir import Dialect
from xdsl.irdl import attr_def, irdl_op_definition, operand_def, opt_attr_def, result_def, traits_def
from xdsl.traits import MemoryReadEffect

from weft.compiler.dialects.step import CpuOp
from weft.compiler.dialects.types import ASKED, FOUND


class ToolOp(CpuOp, ABC):
    """Retrieval has a `corpus`."""

    query = operand_def(ASKED)
    tool = attr_def(StringAttr)
    corpus = opt_attr_def(StringAttr)
    found = result_def(FOUND)

    assembly_format = "$step `(` $query `)` `tool` $tool attr-dict `:` functional-type(operands, results)"


@irdl_op_definition
class InvokeOp(ToolOp):
    """`%passage = tool.invoke "look_up"(%query) tool "search" {corpus = "hardware", …}`.

    `lookup_share` is the part of its time that fetches what is known (0: it only computes, 1: it only fetches); unless
    it is told, a tool with a corpus fetches and one without computes."""

    name = "tool.invoke"

    lookup_share = opt_attr_def(FloatAttr)

    def verify_(self) -> None:
        super().verify_()
        if not 0 <= self.share_of_lookup <= 1:
            raise self.refusal(f"lookup_share is {self.share_of_lookup}", "give a number from 0 to 1")

    @property
    def share_of_lookup(self) -> float:
        if self.lookup_share is not None:
            return self.lookup_share.value.data
        return 0.0 if self.corpus is None else 1.0


@irdl_op_definition
class LookupOp(ToolOp):
    """The part of a tool call that fetches: it reads, and changes nothing."""

    name = "tool.lookup"

    traits = traits_def(MemoryReadEffect())


@irdl_op_definition
class ComputeOp(ToolOp):
    """The part of a tool call that works on what it was given; it may act on the world."""

    name = "tool.compute"


ToolDialect = Dialect("tool", [InvokeOp, LookupOp, ComputeOp], [])
