"""`data`: pure functions between steps."""

from abc import ABC
from collections.abc import Sequence

from xdsl.dialects.builtin import ArrayAttr, StringAttr
from xdsl.interfaces import HasFolderInterface
from xdsl.ir import Attribute, Dialect, SSAValue
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

from weft.compiler.dialects.step import CpuOp
from weft.compiler.dialects.types import TEXT, JsonType, MessagesType


class FunctionOp(CpuOp, ABC):
    """A Python function without effects."""

    function = attr_def(StringAttr)

    traits = traits_def(Pure())


@irdl_op_definition
class ApplyOp(FunctionOp):
    """`%chat = data.apply "ask"(%question) function "ask" : (!agent.text) -> !agent.messages`."""

    name = "data.apply"

    inputs = var_operand_def()
    output = result_def()

    assembly_format = "$step `(` $inputs `)` `function` $function attr-dict `:` functional-type(operands, results)"


@irdl_op_definition
class FilterOp(FunctionOp, HasFolderInterface):
    """`%clean = data.filter "redact"(%text) function "redact" {removes = ["email", "phone"]} : (T) -> T`: takes out
    what must not go on. What an earlier filter of the same function took out is gone, so a filter of no more kinds
    folds away."""

    name = "data.filter"

    value = operand_def()
    removes = attr_def(ArrayAttr[StringAttr])
    clean = result_def()

    assembly_format = "$step `(` $value `)` `function` $function attr-dict `:` functional-type(operands, results)"

    def verify_(self) -> None:
        super().verify_()
        if self.value.type != self.clean.type:
            problem = f"takes {self.value.type} and gives {self.clean.type}"
            raise self.refusal(problem, "a filter keeps the type; use data.apply to change it")
        if not len(self.removes):
            raise self.refusal("removes nothing", 'say what it takes out, as removes = ["email"]')

    def fold(self) -> Sequence[SSAValue | Attribute] | None:
        before = self.value.owner
        if not isinstance(before, FilterOp) or before.function != self.function:
            return None
        return (self.value,) if {*self.removes} <= {*before.removes} else None


@irdl_op_definition
class ParseOp(FunctionOp):
    """`%call = data.parse "read_call"(%reply) function "json" {schema = "…"} : (!agent.text) -> !agent.json`."""

    name = "data.parse"

    text = operand_def(TEXT)
    schema = opt_attr_def(StringAttr)
    parsed = result_def(AnyOf((BaseAttr(JsonType), BaseAttr(MessagesType))))

    assembly_format = "$step `(` $text `)` `function` $function attr-dict `:` functional-type(operands, results)"


DataDialect = Dialect("data", [ApplyOp, FilterOp, ParseOp], [])
