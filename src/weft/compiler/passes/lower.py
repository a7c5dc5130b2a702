"""lower: each partition becomes a function of its own, called where it stood. What is left of the agent is its control
flow: which partition runs when, and what goes from one to the other.

A function carries `fleet.partition` and its `pool`; inputs are what the partition takes, results what others use.

Preserves: the result, the work, the effects and their order. A partition starts when all its inputs are there.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from xdsl.context import Context
from xdsl.dialects import func
from xdsl.dialects.builtin import FunctionType, ModuleOp, StringAttr
from xdsl.ir import Block, Region, SSAValue
from xdsl.passes import ModulePass

from weft.compiler.attributes import labelled, spelled
from weft.compiler.control_flow import agent_graph, block_name
from weft.compiler.dialects.step import StepOp
from weft.compiler.effects import Effects
from weft.compiler.functions import functions_of
from weft.compiler.passes.partition import in_order, unplaced
from weft.core.errors import IRError

PARTITION = "fleet.partition"
"""On a function: the partition that it is."""


@dataclass(frozen=True)
class Lower(ModulePass):
    name = "lower"

    def apply(self, ctx: Context, op: ModuleOp) -> None:
        graph, effects = agent_graph(op), Effects(op)
        taken = set(functions_of(op))
        for block in graph.body.blocks:
            block.name_hint = block.name_hint or labelled(block_name(block))
        for block in graph.body.blocks:
            _check_flat(block)
            for name, steps in _in_order(block, effects):
                symbol = spelled(name)
                while symbol in taken:
                    symbol += "_"
                taken.add(symbol)
                op.body.block.add_op(_outlined(block, name, symbol, steps))


def _check_flat(block: Block) -> None:
    for op in block.ops:
        if op is not block.last_op and not isinstance(op, StepOp):
            raise IRError(subject=op.name, problem="is no step of a partition", way_out="run inline before lower")


def partition_of(step: StepOp) -> str:
    """A hand-off is a partition of its own."""
    return step.partition.data if step.partition else step.step_name


def _in_order(block: Block, effects: Effects) -> list[tuple[str, list[StepOp]]]:
    """The partitions of a block, each after those that it waits for, otherwise as they stand."""
    members: dict[str, list[StepOp]] = {}
    waits: dict[str, set[str]] = {}
    for step, makers, earlier in in_order(block, effects):
        if step.pool is None:
            raise unplaced(step, "run the place and partition passes before lower")
        name = partition_of(step)
        members.setdefault(name, []).append(step)
        waits.setdefault(name, set()).update({partition_of(each) for each in (*makers, *earlier)} - {name})
    return [(name, members[name]) for name in _sorted(waits)]


def _sorted(waits: Mapping[str, set[str]]) -> Iterable[str]:
    left = dict(waits)
    while left:
        name = next((name for name, before in left.items() if before.isdisjoint(left)), None)
        if name is None:
            raise IRError(
                subject=f"partitions {', '.join(left)}",
                problem="wait for each other",
                way_out="run the partition pass again: it never makes such",
            )
        del left[name]
        yield name


def _outlined(block: Block, name: str, symbol: str, steps: Sequence[StepOp]) -> func.FuncOp:
    """The function; its call stands before the terminator, after those of earlier partitions."""
    inside, own, pool = set(steps), {result for step in steps for result in step.results}, steps[0].pool
    inputs = list(dict.fromkeys(each for step in steps for each in step.operands if each not in own))
    results = [each for step in steps for each in step.results if any(use.operation not in inside for use in each.uses)]
    kind = FunctionType.from_lists([each.type for each in inputs], [each.type for each in results])
    call, end = func.CallOp(symbol, inputs, list(kind.outputs)), block.last_op
    assert end is not None and pool is not None
    block.insert_op_before(call, end)
    for made, result in zip(results, call.results, strict=True):
        result.name_hint = made.name_hint
        made.replace_uses_with_if(result, lambda use: use.operation not in inside)
    function = func.FuncOp(symbol, kind, Region(_body(inputs, steps, results)), visibility="private")
    function.attributes |= {PARTITION: StringAttr(name), "pool": pool}
    return function


def _body(inputs: Sequence[SSAValue], steps: Sequence[StepOp], results: Sequence[SSAValue]) -> Block:
    inside = set(steps)
    body = Block(arg_types=[each.type for each in inputs])
    for step in steps:
        step.detach()
        body.add_op(step)
    for value, argument in zip(inputs, body.args, strict=True):
        argument.name_hint = value.name_hint
        value.replace_uses_with_if(argument, lambda use: use.operation in inside)
    body.add_op(func.ReturnOp(*results))
    return body
