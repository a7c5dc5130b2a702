"""expand-maps: each `agent.map` becomes `width` runs of its worker, so that they can be counted and placed.

A worker of one block becomes copies side by side: they run at the same time, as the map says. A worker with control
flow of its own becomes a loop over the items: every step runs as often as it should, but one item after the other.
Data steps `item` and `gather` take the list apart and put the results together. Rounded to whole items, at least 1.
A worker that several maps share has steps of each, called `map/step`. Workers that nothing calls any more go.

Preserves: the agent's result, if `width` is the number of items (a live run says so if it is not); the expected
visits and θ of the worker's steps. The loop over the items of a worker with control flow is bounded, and bounds count
per run: inside another loop only the first turn sees all items (the visits say so too).
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from xdsl.context import Context
from xdsl.dialects import cf, func
from xdsl.dialects.builtin import ArrayAttr, FloatAttr, IntegerAttr, ModuleOp, StringAttr, f64, i1, i64
from xdsl.ir import Attribute, Block, Operation, SSAValue
from xdsl.passes import ModulePass

from weft.compiler.attributes import spelled
from weft.compiler.control_flow import agent_graph
from weft.compiler.dialects.agent import ChooseOp, MapOp
from weft.compiler.dialects.data import ApplyOp
from weft.compiler.dialects.step import StepOp
from weft.compiler.effects import Effect, Effects
from weft.compiler.functions import callee_of, drop_unused, functions_of
from weft.compiler.rewriting import cut_after, erase, go_on, returns_to
from weft.core.program import GATHER, ITEM, NEXT

GLUE_CORE_S = 1e-4


@dataclass(frozen=True)
class ExpandMaps(ModulePass):
    name = "expand-maps"

    def apply(self, ctx: Context, op: ModuleOp) -> None:
        graph, effects = agent_graph(op), Effects(op)
        maps = [each for each in op.walk() if isinstance(each, MapOp)]
        shared = Counter(each.worker.string_value() for each in maps)
        while maps := [each for each in graph.body.walk() if isinstance(each, MapOp)]:
            for each in reversed(maps):  # what comes after a map is moved once
                prefix = f"{each.step_name}/" if shared[each.worker.string_value()] > 1 else ""
                _expand(each, prefix, op, effects)
        drop_unused(op)


def _expand(op: MapOp, prefix: str, module: ModuleOp, effects: Effects) -> None:
    worker = callee_of(op, functions_of(module))
    assert worker is not None
    count = max(1, round(op.width.value.data))
    if effects.of(op) >= Effect.READS:
        _barrier(op)
    if len(worker.body.blocks) > 1:
        _one_by_one(op, worker, prefix, count)
    else:
        _side_by_side(op, worker.body.block, prefix, count)


def _barrier(op: MapOp) -> None:
    """What came after a map with effects comes after all of its effects, also those whose results are not used."""
    after = cut_after(op, _label(op, "done"))
    go_on(_block_of(op), after)


def _side_by_side(op: MapOp, body: Block, prefix: str, count: int) -> None:
    """`count` copies before the map, then one step that gathers their results."""
    block = _block_of(op)
    results: list[SSAValue] = []
    for number in range(count):
        item = _item(op, [op.items], f"[{number}]", index=number, width=count)
        block.insert_op_before(item, op)
        values: dict[SSAValue, SSAValue] = {body.args[0]: item.output}
        for inner in body.ops:
            if isinstance(inner, func.ReturnOp):
                results.append(values[inner.arguments[0]])
            else:
                block.insert_op_before(_copy(inner, values, prefix, f"[{number}]" if count > 1 else ""), op)
    gather = _gather(op, op.step_name, results)
    block.insert_op_before(gather, op)
    _replace(op, gather.output)


def _one_by_one(op: MapOp, worker: func.FuncOp, prefix: str, count: int) -> None:
    """A loop between the two halves of the map's block: take the next item, run the worker's blocks, gather."""
    before = _block_of(op)
    region = before.parent
    assert region is not None
    after, head, back = cut_after(op, _label(op, "after")), Block(arg_types=[op.gathered.type]), Block()
    result = back.insert_arg(op.gathered.type, 0)
    head.name_hint, back.name_hint = _label(op, "items"), _label(op, "gathered")
    nothing = _gather(op, f"{op.step_name}.nothing", [])
    before.insert_op_before(nothing, op)
    item = _item(op, [op.items, head.args[0]], "", width=count)
    copies = _copied_blocks(op, worker, prefix)
    head.add_op(item)
    go_on(head, copies[0], item.output)
    for copy in copies:
        returns_to(copy, back)
    gathered = _gather(op, op.step_name, [head.args[0], result])
    back.add_ops([gathered, *_again(op, gathered.output, after, head, count)])
    region.insert_block_after([head, *copies, back], before)
    _replace(op, gathered.output)
    go_on(before, head, nothing.output)


def _copied_blocks(op: MapOp, worker: func.FuncOp, prefix: str) -> list[Block]:
    body = worker.body.clone()
    for step in body.walk():
        if isinstance(step, StepOp):
            step.step = StringAttr(f"{prefix}{step.step_name}")
    copies = list(body.blocks)
    for number, copy in enumerate(copies):
        body.detach_block(copy)
        copy.name_hint = _label(op, str(number))
    return copies


def _block_of(op: Operation) -> Block:
    assert op.parent is not None
    return op.parent


def _label(op: MapOp, part: str) -> str:
    """A block's name: unique, since step names are, and of the letters that MLIR allows there."""
    return spelled(f"{op.step_name}.{part}")


def _again(op: MapOp, gathered: SSAValue, after: Block, head: Block, count: int) -> list[Operation]:
    choose = ChooseOp.build(
        operands=[[op.items, gathered]],
        attributes={
            "step": StringAttr(f"{op.step_name}.next"),
            "function": StringAttr(NEXT),
            "core_s": FloatAttr(GLUE_CORE_S, f64),
        },
        result_types=[i1],
    )
    jump = cf.ConditionalBranchOp(choose.chosen, head, [gathered], after, [])
    weights = (1.0, 0.0) if count > 1 else (0.0, 1.0)
    jump.attributes["agent.weights"] = ArrayAttr([FloatAttr(weight, f64) for weight in weights])
    jump.attributes["agent.at_most"] = IntegerAttr(max(count - 1, 1), i64)
    return [choose, jump]


def _item(op: MapOp, inputs: Sequence[SSAValue], suffix: str, **told_numbers: int) -> ApplyOp:
    told = {name: IntegerAttr(number, i64) for name, number in told_numbers.items()}
    return _glue(f"{op.step_name}.item{suffix}", ITEM, inputs, op.items.type, told)


def _gather(op: MapOp, name: str, results: Sequence[SSAValue]) -> ApplyOp:
    return _glue(name, GATHER, results, op.gathered.type, {})


def _glue(
    name: str, function: str, inputs: Sequence[SSAValue], gives: Attribute, told: Mapping[str, IntegerAttr]
) -> ApplyOp:
    attributes = {"step": StringAttr(name), "function": StringAttr(function), "core_s": FloatAttr(GLUE_CORE_S, f64)}
    return ApplyOp.build(operands=[list(inputs)], attributes={**attributes, **told}, result_types=[gives])


def _copy(op: Operation, values: dict[SSAValue, SSAValue], prefix: str, suffix: str) -> Operation:
    copy = op.clone(values)
    if isinstance(copy, StepOp):
        copy.step = StringAttr(f"{prefix}{copy.step_name}{suffix}")
    return copy


def _replace(op: MapOp, value: SSAValue) -> None:
    value.name_hint = value.name_hint or op.gathered.name_hint
    op.gathered.replace_all_uses_with(value)
    erase(op)
