"""`data`: pure functions between steps."""

from xdsl.dialects.builtin import StringAttr
from xdsl.ir import Dialect
from xdsl.irdl import attr_def, irdl_op_definition, result_def, traits_def, var_operand_def
from xdsl.traits import Pure

from weft.compiler.dialects.step import CpuOp


@irdl_op_definition
class ApplyOp(CpuOp):
    """`%chat = data.apply "ask"(%question) function "ask" : (!agent.text) -> !agent.messages`."""

    name = "data.apply"

    inputs = var_operand_def()
    function = attr_def(StringAttr)
    output = result_def()

    traits = traits_def(Pure())
    assembly_format = "$step `(` $inputs `)` `function` $function attr-dict `:` functional-type(operands, results)"


DataDialect = Dialect("data", [ApplyOp], [])
