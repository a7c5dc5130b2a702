"""Upstream's terminators, read as jumps: where to, how likely, on which value, how often at most."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import cast

from xdsl.dialects import cf, func
from xdsl.dialects.builtin import ArrayAttr, FloatAttr, IntegerAttr, ModuleOp, f64
from xdsl.ir import Attribute, Block, Operation, SSAValue

from weft.compiler.dialects.step import StepOp
from weft.core.errors import IRError


@dataclass(frozen=True)
class Jump:
    """`targets[label]` with its arguments and probability. Label 0 is the false or default side; see core.program."""

    targets: tuple[tuple[Block, tuple[SSAValue, ...]], ...]
    probabilities: tuple[float, ...]
    selector: SSAValue | None = None
    at_most: int | None = None


def agent_graph(module: ModuleOp) -> func.FuncOp:
    """The one `func.func {agent.graph}` of a module."""
    graphs = [op for op in module.ops if isinstance(op, func.FuncOp) and "agent.graph" in op.attributes]
    if len(graphs) != 1:
        raise IRError(
            subject="module",
            problem=f"holds {len(graphs)} functions with the attribute agent.graph, 1 is needed",
            way_out="mark the agent's func.func with attributes {agent.graph}",
        )
    return graphs[0]


def jump_of(block: Block) -> Jump:
    """How a block ends; no targets for a return."""
    end = block.last_op
    match end:
        case func.ReturnOp():
            return Jump((), ())
        case cf.BranchOp():
            return Jump(((end.successor, tuple(end.arguments)),), (1.0,))
        case cf.ConditionalBranchOp():
            taken, skipped = _weights(end, 2)
            targets = ((end.else_block, tuple(end.else_arguments)), (end.then_block, tuple(end.then_arguments)))
            return Jump(targets, (skipped, taken), end.cond, _bound(end))
        case cf.SwitchOp():
            cases = zip(end.case_blocks, end.case_operand, strict=True)
            targets = ((end.default_block, tuple(end.default_operands)), *((to, tuple(args)) for to, args in cases))
            return Jump(targets, _weights(end, len(targets)), end.flag, _bound(end))
        case _:
            raise IRError(
                subject=f"block ends in {end.name if end else 'nothing'}",
                problem="is no terminator of an agent",
                way_out="end blocks in cf.br, cf.cond_br, cf.switch or func.return",
            )


def set_probabilities(end: cf.ConditionalBranchOp | cf.SwitchOp, by_label: Sequence[float]) -> None:
    """Of a jump that chooses, in the order of `Jump.probabilities`."""
    weights = reversed(by_label) if isinstance(end, cf.ConditionalBranchOp) else by_label
    end.attributes["agent.weights"] = ArrayAttr([FloatAttr(weight, f64) for weight in weights])


def steps_of(block: Block) -> Iterator[StepOp]:
    return (op for op in block.ops if isinstance(op, StepOp))


def block_name(block: Block) -> str:
    """`entry`, the label in the text, or the block's first step: names come from the program."""
    if block.parent is not None and block.parent.first_block is block:
        return "entry"
    first_step = next((step.step_name for step in steps_of(block)), "join")
    return block.name_hint or first_step


def name_joins(jumps: Mapping[Block, Jump]) -> None:
    """Blocks without steps get labels, after the first block that goes there and the side it takes: `think.1`."""
    for block, jump in jumps.items():
        for label, (target, _) in enumerate(jump.targets):
            if target.name_hint is None and next(steps_of(target), None) is None:
                target.name_hint = f"{block_name(block)}.{label}"


def _weights(end: Operation, count: int) -> tuple[float, ...]:
    weights = end.attributes.get("agent.weights")
    numbers = _floats(weights)
    if len(numbers) != count or any(number < 0 for number in numbers) or abs(sum(numbers) - 1) > 1e-6:
        raise IRError(
            subject=f"{end.name} in block {block_name(end.parent) if end.parent else ''!r}",
            problem=f"agent.weights is {numbers}, needs {count} probabilities that sum to 1",
            way_out="give how likely each successor is, e.g. {agent.weights = [0.4, 0.6]}",
        )
    return tuple(numbers)


def _floats(attribute: Attribute | None) -> list[float]:
    if not isinstance(attribute, ArrayAttr):
        return []
    elements = cast("ArrayAttr[Attribute]", attribute)
    return [element.value.data for element in elements if isinstance(element, FloatAttr)]


def _bound(end: Operation) -> int | None:
    bound = end.attributes.get("agent.at_most")
    return bound.value.data if isinstance(bound, IntegerAttr) else None


def repeats(graph: func.FuncOp) -> bool:
    """Whether some jump goes back."""
    order = {block: at for at, block in enumerate(graph.body.blocks)}
    return any(order[to] <= at for block, at in order.items() for to, _ in jump_of(block).targets)
