"""`tool`: what an agent calls outside its models."""

from xdsl.dialects.builtin import StringAttr
from xdsl.ir import Dialect
from xdsl.irdl import attr_def, irdl_op_definition, operand_def, result_def

from weft.compiler.dialects.step import CpuOp
from weft.compiler.dialects.types import TEXT, TextType


@irdl_op_definition
class InvokeOp(CpuOp):
    """`%passage = tool.invoke "look_up"(%query) tool "search" {corpus = "hardware", …}`."""

    name = "tool.invoke"

    query = operand_def(TEXT)
    tool = attr_def(StringAttr)
    corpus = attr_def(StringAttr)
    found = result_def(TextType)

    assembly_format = "$step `(` $query `)` `tool` $tool attr-dict `:` functional-type(operands, results)"


ToolDialect = Dialect("tool", [InvokeOp], [])
