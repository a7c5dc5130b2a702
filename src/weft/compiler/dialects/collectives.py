"""`llm`, between the devices of a replica: what they exchange. `bytes` are those of all messages of a visit, all
devices together; an operand stands for all `shards`, or there is one operand for each."""

from abc import ABC
from collections.abc import Sequence

from xdsl.dialects.builtin import IntegerAttr
from xdsl.interfaces import HasFolderInterface
from xdsl.ir import Attribute, SSAValue
from xdsl.irdl import attr_def, irdl_op_definition, result_def, traits_def, var_operand_def
from xdsl.traits import Pure

from weft.compiler.dialects.step import StepOp


class CollectiveOp(StepOp, HasFolderInterface, ABC):
    """One shard has nothing to exchange: it folds to its operand."""

    parts = var_operand_def()
    shards = attr_def(IntegerAttr)
    bytes_moved = attr_def(IntegerAttr, attr_name="bytes")
    joined = result_def()

    traits = traits_def(Pure())
    assembly_format = "$step `(` $parts `)` `shards` $shards attr-dict `:` functional-type(operands, results)"

    def verify_(self) -> None:
        super().verify_()
        self.check_above(0, shards=self.shards)
        self.check_above(-1, bytes=self.bytes_moved)
        count = self.shards.value.data
        if len(self.parts) not in (1, count):
            raise self.refusal(f"has {len(self.parts)} operands for {count} shards", "give one for all, or one each")
        if any(part.type != self.joined.type for part in self.parts):
            raise self.refusal(f"its parts are not of its type {self.joined.type}", "join values of one type")

    def fold(self) -> Sequence[SSAValue | Attribute] | None:
        return (self.parts[0],) if self.shards.value.data == 1 else None


@irdl_op_definition
class AllReduceOp(CollectiveOp):
    """`%s = llm.all_reduce "think.prefill.reduce"(%m) shards 4 {bytes = …} : (T) -> T`: partial sums become the sum on
    every device."""

    name = "llm.all_reduce"


@irdl_op_definition
class AllGatherOp(CollectiveOp):
    """`%all = llm.all_gather "think.prefill.gather"(%rows) shards 8 {bytes = …} : (T) -> T`: every device learns the
    rows of the others, as experts that are spread over data-parallel devices need."""

    name = "llm.all_gather"
