"""expand-maps: each `agent.map` becomes `width` runs of its worker, so that they can be counted and placed.

A worker of one block becomes copies side by side: they run at the same time, as the map says. A worker with control
flow of its own becomes a loop over the items: every step runs as often as it should, but one item after the other.
Rounded to whole items, at least 1. Workers that nothing calls any more go.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from xdsl.context import Context
from xdsl.dialects import cf, func
from xdsl.dialects.builtin import ArrayAttr, FloatAttr, IntegerAttr, ModuleOp, StringAttr, f64, i1, i64
from xdsl.ir import Attribute, Block, Operation, SSAValue
from xdsl.passes import ModulePass
from xdsl.traits import SymbolTable

from weft.compiler.attributes import spelled
from weft.compiler.dialects.agent import ChooseOp, MapOp
from weft.compiler.dialects.data import ApplyOp
from weft.compiler.dialects.step import StepOp

GLUE_CORE_S = 1e-4


@dataclass(frozen=True)
class ExpandMaps(ModulePass):
    name = "expand-maps"

    def apply(self, ctx: Context, op: ModuleOp) -> None:
        while maps := [
            each for each in op.walk() if isinstance(each, MapOp) and "agent.graph" in _function(each).attributes
        ]:
            _expand(op, maps[0])
        for worker in [
            each for each in op.ops if isinstance(each, func.FuncOp) and "agent.graph" not in each.attributes
        ]:
            worker.detach()
            worker.erase(safe_erase=False)


def _function(op: Operation) -> func.FuncOp:
    parent = op.parent_op()
    while not isinstance(parent, func.FuncOp):
        assert parent is not None
        parent = parent.parent_op()
    return parent


def _expand(module: ModuleOp, op: MapOp) -> None:
    worker = SymbolTable.lookup_symbol(module, op.worker)
    assert isinstance(worker, func.FuncOp)
    count = max(1, round(op.width.value.data))
    if len(worker.body.blocks) == 1:
        _side_by_side(op, worker.body.block, count)
    else:
        _one_by_one(op, worker, count)


def _side_by_side(op: MapOp, body: Block, count: int) -> None:
    """`count` copies before the map, then one step that gathers their results."""
    block = op.parent_block()
    assert block is not None
    results: list[SSAValue] = []
    for number in range(count):
        values: dict[SSAValue, SSAValue] = {body.args[0]: op.items}
        for inner in body.ops:
            if isinstance(inner, func.ReturnOp):
                results.append(values[inner.arguments[0]])
            else:
                block.insert_op_before(_copy(inner, values, f"[{number}]" if count > 1 else ""), op)
    gather = _gather(op, results)
    block.insert_op_before(gather, op)
    _replace(op, gather.output)


def _one_by_one(op: MapOp, worker: func.FuncOp, count: int) -> None:
    """The worker's blocks between the two halves of the map's block; its last step goes back `count` - 1 times."""
    block = op.parent_block()
    assert block is not None
    region = block.parent
    assert region is not None
    after = block.split_before(op, arg_types=(op.items.type,))
    body = worker.body.clone()
    copies = list(body.blocks)
    back = Block(arg_types=[op.items.type])
    after.name_hint, back.name_hint = _label(op, "after"), _label(op, "items")
    block.add_op(cf.BranchOp(copies[0], op.items))
    for number, copy in enumerate(copies):
        body.detach_block(copy)
        copy.name_hint = _label(op, str(number))
        if isinstance(end := copy.last_op, func.ReturnOp):
            copy.insert_op_before(cf.BranchOp(back, *end.arguments), end)
            end.detach()
            end.erase()
    back.add_ops(_again(op, back.args[0], after, copies[0], count))
    region.insert_block([*copies, back], region.get_block_index(after))
    _replace(op, after.args[0])


def _label(op: MapOp, part: str) -> str:
    """A block's name: unique, since step names are, and of the letters that MLIR allows there."""
    return spelled(f"{op.step_name}.{part}")


def _again(op: MapOp, state: SSAValue, after: Block, first: Block, count: int) -> list[Operation]:
    choose = ChooseOp.build(
        operands=[[state]],
        attributes={
            "step": StringAttr(f"{op.step_name}.next"),
            "function": StringAttr("next"),
            "core_s": FloatAttr(GLUE_CORE_S, f64),
        },
        result_types=[i1],
    )
    jump = cf.ConditionalBranchOp(choose.chosen, first, [state], after, [state])
    weights = (1.0, 0.0) if count > 1 else (0.0, 1.0)
    jump.attributes["agent.weights"] = ArrayAttr([FloatAttr(weight, f64) for weight in weights])
    jump.attributes["agent.at_most"] = IntegerAttr(max(count - 1, 1), i64)
    return [choose, jump]


def _gather(op: MapOp, results: list[SSAValue]) -> ApplyOp:
    attributes: Mapping[str, Attribute] = {
        "step": op.step,
        "function": StringAttr("gather"),
        "core_s": FloatAttr(GLUE_CORE_S, f64),
    }
    return ApplyOp.build(operands=[results], attributes=dict(attributes), result_types=[op.gathered.type])


def _copy(op: Operation, values: dict[SSAValue, SSAValue], suffix: str) -> Operation:
    copy = op.clone(values)
    if isinstance(copy, StepOp):
        copy.step = StringAttr(f"{copy.step_name}{suffix}")
    return copy


def _replace(op: MapOp, value: SSAValue) -> None:
    op.gathered.replace_all_uses_with(value)
    op.detach()
    op.erase()
