"""`kv`: moves of key-value caches between pools."""

from xdsl.dialects.builtin import IntegerAttr, StringAttr
from xdsl.ir import Dialect
from xdsl.irdl import attr_def, irdl_op_definition, operand_def, result_def, traits_def
from xdsl.traits import Pure
from xdsl.utils.exceptions import VerifyException

from weft.compiler.dialects.step import StepOp
from weft.compiler.dialects.types import KvType


@irdl_op_definition
class TransferOp(StepOp):
    """`kv.transfer`: the cache moves over `link` to the pool that this op is placed on; `bytes` is the mean size."""

    name = "kv.transfer"

    source = operand_def(KvType)
    link = attr_def(StringAttr)
    bytes_moved = attr_def(IntegerAttr, attr_name="bytes")
    moved = result_def(KvType)

    traits = traits_def(Pure())
    assembly_format = "$step `(` $source `)` `over` $link attr-dict `:` functional-type(operands, results)"

    def verify_(self) -> None:
        super().verify_()
        if self.source.type != self.moved.type:
            raise VerifyException(
                f"{self.step_name}: a transfer keeps its type, not {self.source.type} → {self.moved.type}"
            )


KvDialect = Dialect("kv", [TransferOp], [])
