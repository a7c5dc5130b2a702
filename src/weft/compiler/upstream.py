"""The form of a module that upstream's tools read with our IRDL, and the way back.

IRDL gives all operands of a variadic one type. Where a step takes values of several types (`data.apply`,
`agent.choose`) they travel as one tuple: `builtin.unrealized_conversion_cast` packs them, and reading unpacks them.
"""

from xdsl.dialects.builtin import ModuleOp, TupleType, UnrealizedConversionCastOp
from xdsl.ir import TypeAttribute
from xdsl.rewriter import InsertPoint, Rewriter

from weft.compiler.dialects.agent import ChooseOp
from weft.compiler.dialects.data import ApplyOp
from weft.compiler.dialects.step import StepOp


def packed(module: ModuleOp) -> ModuleOp:
    """A copy in which no step takes values of several types."""
    copy = module.clone()
    for step in [each for each in copy.walk() if isinstance(each, ApplyOp | ChooseOp)]:
        types = tuple(each.type for each in step.inputs if isinstance(each.type, TypeAttribute))
        if len(set(types)) > 1:
            pack = UnrealizedConversionCastOp.get(list(step.inputs), [TupleType(types)])
            Rewriter.insert_op(pack, InsertPoint.before(step))
            step.operands = list(pack.results)
    return copy


def unpack(module: ModuleOp) -> None:
    """Undoes `packed`, in place."""
    packs = [each for each in module.walk() if isinstance(each, UnrealizedConversionCastOp)]
    for pack in packs:
        steps = {use.operation for result in pack.results for use in result.uses}
        if all(isinstance(step, StepOp) and len(step.operands) == 1 for step in steps):
            for step in steps:
                step.operands = list(pack.operands)
            Rewriter.erase_op(pack)
