"""`agent`: the types on the edges of an agent, and the choice that control flow turns on.

Control flow itself is upstream's: `func.func {agent.graph}`, `cf.br`, `cf.cond_br` with `agent.weights` (probability of
the true and of the false successor) and `agent.at_most` (how often a run may take the true one).
"""

from xdsl.dialects.builtin import I1, StringAttr
from xdsl.ir import Dialect
from xdsl.irdl import attr_def, irdl_op_definition, result_def, traits_def, var_operand_def
from xdsl.traits import Pure

from weft.compiler.dialects.step import CpuOp
from weft.compiler.dialects.types import AudioType, MessagesType, StreamType, TextType


@irdl_op_definition
class ChooseOp(CpuOp):
    """`%c = agent.choose "done"(%reply) function "is_done" : (!agent.text) -> i1`: a Python predicate."""

    name = "agent.choose"

    inputs = var_operand_def()
    function = attr_def(StringAttr)
    chosen = result_def(I1)

    traits = traits_def(Pure())
    assembly_format = "$step `(` $inputs `)` `function` $function attr-dict `:` functional-type(operands, results)"


AgentDialect = Dialect("agent", [ChooseOp], [TextType, AudioType, MessagesType, StreamType])
