"""`mem`: what an agent remembers between its runs, and what it searches.

A memory has a name; ops of one memory keep the order that their values give them, as all steps do."""

from abc import ABC

from xdsl.dialects.builtin import IntegerAttr, StringAttr
from xdsl.ir import Dialect
from xdsl.irdl import (
    AnyOf,
    BaseAttr,
    attr_def,
    irdl_op_definition,
    operand_def,
    opt_attr_def,
    result_def,
    traits_def,
)
from xdsl.traits import MemoryReadEffect, MemoryWriteEffect

from weft.compiler.dialects.step import CpuOp
from weft.compiler.dialects.types import ASKED, DocsType, EmbeddingType, MessagesType, StreamType, TextType


class MemoryOp(CpuOp, ABC):
    memory = attr_def(StringAttr)

    def verify_(self) -> None:
        super().verify_()
        if not self.memory.data:
            raise self.refusal("names no memory", "give its name")


@irdl_op_definition
class LoadOp(MemoryOp):
    """`%chat = mem.load "recall"(%question) from "conversation"`: what is remembered, and what was asked with it."""

    name = "mem.load"

    asked = operand_def(ASKED)
    recalled = result_def(ASKED)

    traits = traits_def(MemoryReadEffect())
    assembly_format = "$step `(` $asked `)` `from` $memory attr-dict `:` functional-type(operands, results)"


@irdl_op_definition
class StoreOp(MemoryOp):
    """`%kept = mem.store "remember"(%reply) into "conversation"`: gives the value back once it is stored, so that what
    must come after can say so."""

    name = "mem.store"

    value = operand_def()
    kept = result_def()

    traits = traits_def(MemoryWriteEffect())
    assembly_format = "$step `(` $value `)` `into` $memory attr-dict `:` functional-type(operands, results)"

    def verify_(self) -> None:
        super().verify_()
        if self.value.type != self.kept.type:
            problem = f"stores {self.value.type} and gives {self.kept.type} back"
            raise self.refusal(problem, "give both the same type")


@irdl_op_definition
class SearchOp(MemoryOp):
    """`%docs = mem.search "retrieve"(%vector) in "manuals" {k = 8 : i64}`: the nearest passages, `k` at most."""

    name = "mem.search"

    query = operand_def(AnyOf((BaseAttr(TextType), BaseAttr(StreamType), BaseAttr(EmbeddingType))))
    k = opt_attr_def(IntegerAttr)
    docs = result_def(AnyOf((BaseAttr(DocsType), BaseAttr(TextType), BaseAttr(MessagesType))))

    traits = traits_def(MemoryReadEffect())
    assembly_format = "$step `(` $query `)` `in` $memory attr-dict `:` functional-type(operands, results)"

    def verify_(self) -> None:
        super().verify_()
        self.check_above(0, k=self.k)


MemDialect = Dialect("mem", [LoadOp, StoreOp, SearchOp], [])
