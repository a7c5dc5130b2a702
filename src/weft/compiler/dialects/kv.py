"""`kv`: moves of key-value caches between pools, and between the tiers of memory."""

from collections.abc import Sequence

from xdsl.dialects.builtin import IntegerAttr, StringAttr
from xdsl.interfaces import HasFolderInterface
from xdsl.ir import Attribute, Dialect, SSAValue
from xdsl.irdl import attr_def, irdl_op_definition, operand_def, opt_attr_def, result_def, traits_def
from xdsl.traits import MemoryReadEffect, MemoryWriteEffect, Pure

from weft.compiler.dialects.step import StepOp
from weft.compiler.dialects.types import KvType, StoredType

TIERS = ("host", "disk", "object")


@irdl_op_definition
class TransferOp(StepOp, HasFolderInterface):
    """`kv.transfer`: the cache moves over `link` to the pool that this op is placed on; `bytes` is the mean size.

    A move within a pool folds away, and of two moves to one pool the second."""

    name = "kv.transfer"

    source = operand_def(KvType)
    link = attr_def(StringAttr)
    bytes_moved = attr_def(IntegerAttr, attr_name="bytes")
    moved = result_def(KvType)

    traits = traits_def(Pure())
    assembly_format = "$step `(` $source `)` `over` $link attr-dict `:` functional-type(operands, results)"

    def verify_(self) -> None:
        super().verify_()
        self.check_above(-1, bytes=self.bytes_moved)
        if self.source.type != self.moved.type:
            problem = f"a transfer keeps its type, not {self.source.type} → {self.moved.type}"
            raise self.refusal(problem, "give both the same type")

    def fold(self) -> Sequence[SSAValue | Attribute] | None:
        origin = self.source.owner
        here = isinstance(origin, StepOp) and self.pool is not None and origin.pool == self.pool
        return (self.source,) if here else None


@irdl_op_definition
class StoreOp(StepOp):
    """`%kept = kv.store "think.keep"(%kv) in "host" {bytes = …}`: frees the device; a load brings the cache back."""

    name = "kv.store"

    kv = operand_def(KvType)
    tier = attr_def(StringAttr)
    bytes_moved = attr_def(IntegerAttr, attr_name="bytes")
    key = opt_attr_def(StringAttr)
    stored = result_def(StoredType)

    traits = traits_def(MemoryWriteEffect())
    assembly_format = "$step `(` $kv `)` `in` $tier attr-dict `:` functional-type(operands, results)"

    def verify_(self) -> None:
        super().verify_()
        self.check_above(-1, bytes=self.bytes_moved)
        _check_same_model(self, self.kv.type, self.stored.type)
        if self.tier.data not in TIERS:
            raise self.refusal(f"tier is {self.tier.data!r}", f"choose among {', '.join(TIERS)}")


@irdl_op_definition
class LoadOp(StepOp, HasFolderInterface):
    """`%kv = kv.load "think.back"(%kept)`: the cache on its device again. Right after its store it folds away: nothing
    ran while the device was free."""

    name = "kv.load"

    stored = operand_def(StoredType)
    kv = result_def(KvType)

    traits = traits_def(MemoryReadEffect())
    assembly_format = "$step `(` $stored `)` attr-dict `:` functional-type(operands, results)"

    def verify_(self) -> None:
        super().verify_()
        _check_same_model(self, self.stored.type, self.kv.type)

    def fold(self) -> Sequence[SSAValue | Attribute] | None:
        store = self.stored.owner
        if isinstance(store, StoreOp) and store.next_op is self and store.pool == self.pool:
            return (store.kv,)
        return None


def _check_same_model(op: StepOp, takes: Attribute, gives: Attribute) -> None:
    assert isinstance(takes, KvType | StoredType)
    assert isinstance(gives, KvType | StoredType)
    if takes.model != gives.model:
        problem = f"takes a cache of {takes.model.data} and gives one of {gives.model.data}"
        raise op.refusal(problem, "a cache keeps its model")


KvDialect = Dialect("kv", [TransferOp, StoreOp, LoadOp], [StoredType])
