"""`fleet`: the pools that steps are placed on (a step's `pool` attribute refers to one by symbol), and messages between
them."""

from collections.abc import Sequence

from xdsl.dialects.builtin import (
    FlatSymbolRefAttrConstr,
    FloatAttr,
    IntegerAttr,
    StringAttr,
    SymbolNameConstraint,
)
from xdsl.interfaces import HasFolderInterface
from xdsl.ir import Attribute, Dialect, SSAValue
from xdsl.irdl import (
    IRDLOperation,
    attr_def,
    irdl_op_definition,
    operand_def,
    opt_attr_def,
    result_def,
    traits_def,
)
from xdsl.traits import Pure, SymbolOpInterface

from weft.compiler.dialects.step import Refusal, StepOp
from weft.compiler.dialects.types import MessageType


@irdl_op_definition
class PoolOp(IRDLOperation):
    """`fleet.pool @name on "b200" zone "a" {replicas = 2, tp = 1, …}`: equal replicas of one engine."""

    name = "fleet.pool"

    sym_name = attr_def(SymbolNameConstraint())
    device = attr_def(StringAttr)
    zone = attr_def(StringAttr)
    tp = attr_def(IntegerAttr)
    pp = attr_def(IntegerAttr)
    dp = opt_attr_def(IntegerAttr)
    ep = opt_attr_def(IntegerAttr)
    replicas = attr_def(IntegerAttr)
    batch_limit = attr_def(IntegerAttr)
    usd_per_hour = attr_def(FloatAttr)
    utilisation = attr_def(FloatAttr)
    model = opt_attr_def(StringAttr)
    precision = opt_attr_def(StringAttr)
    share = opt_attr_def(FloatAttr)

    traits = traits_def(SymbolOpInterface())
    assembly_format = "$sym_name `on` $device `zone` $zone attr-dict"

    def verify_(self) -> None:
        for label in ("tp", "pp", "dp", "ep", "replicas", "batch_limit"):
            value = self.attributes.get(label)
            if isinstance(value, IntegerAttr) and value.value.data < 1:
                problem = f"{label} is {value.value.data}, must be at least 1"
                raise Refusal(f"fleet.pool {self.sym_name}", problem, f"give a larger {label}")


@irdl_op_definition
class SendOp(StepOp):
    """`%m = fleet.send "text.send"(%text) to @cpu {bytes = …} : (T) -> !fleet.message<T>`, in the pool that has it.
    `to_stage` is a later stage of the pipeline that is one replica of the pool."""

    name = "fleet.send"

    value = operand_def()
    to = attr_def(FlatSymbolRefAttrConstr)
    to_stage = opt_attr_def(IntegerAttr)
    bytes_moved = opt_attr_def(IntegerAttr, attr_name="bytes")
    message = result_def(MessageType)

    traits = traits_def(Pure())
    assembly_format = "$step `(` $value `)` `to` $to attr-dict `:` functional-type(operands, results)"

    def verify_(self) -> None:
        super().verify_()
        self.check_above(-1, bytes=self.bytes_moved)
        if self.message.type != MessageType(self.value.type):
            raise self.refusal(f"sends {self.value.type} as {self.message.type}", "keep the type inside the message")


@irdl_op_definition
class RecvOp(StepOp, HasFolderInterface):
    """`%here = fleet.recv "text.recv"(%m) : (!fleet.message<T>) -> T`, in the pool that wants it. What was sent within
    a pool folds away."""

    name = "fleet.recv"

    message = operand_def(MessageType)
    value = result_def()

    traits = traits_def(Pure())
    assembly_format = "$step `(` $message `)` attr-dict `:` functional-type(operands, results)"

    def verify_(self) -> None:
        super().verify_()
        if self.message.type != MessageType(self.value.type):
            raise self.refusal(f"takes {self.message.type} for {self.value.type}", "give the type inside the message")

    def fold(self) -> Sequence[SSAValue | Attribute] | None:
        sent = self.message.owner
        if not isinstance(sent, SendOp) or sent.to_stage is not None or sent.pool is None:
            return None
        return (sent.value,) if sent.pool == self.pool == sent.to else None


FleetDialect = Dialect("fleet", [PoolOp, SendOp, RecvOp], [MessageType])
