"""The placed module → Program: the last reader of IR. Values are called after the step that makes them."""

from collections.abc import Iterator

from xdsl.dialects import func
from xdsl.dialects.builtin import ModuleOp
from xdsl.ir import Block, Operation, SSAValue

from weft.compiler.attributes import scalars
from weft.compiler.control_flow import agent_graph, block_name, jump_of, steps_of
from weft.compiler.dialects import kv, mem
from weft.compiler.dialects.agent import ChooseOp, InputOp, InterruptOp
from weft.compiler.dialects.data import ApplyOp, FilterOp, ParseOp
from weft.compiler.dialects.llm import DecodeOp, EmbedOp, ExtendOp, PrefillOp, PrefixOp
from weft.compiler.dialects.media import SynthesizeOp, TranscribeOp
from weft.compiler.dialects.step import StepOp
from weft.compiler.dialects.tool import ComputeOp, InvokeOp, LookupOp, ToolOp
from weft.compiler.dialects.types import whole
from weft.core import program
from weft.core.errors import IRError
from weft.core.program import Program, StepKind, Target, Terminator

_KINDS: dict[type[Operation], StepKind] = {
    InputOp: StepKind.INPUT,
    TranscribeOp: StepKind.TRANSCRIBE,
    SynthesizeOp: StepKind.SYNTHESIZE,
    PrefillOp: StepKind.PREFILL,
    ExtendOp: StepKind.PREFILL,
    PrefixOp: StepKind.PREFIX,
    DecodeOp: StepKind.DECODE,
    EmbedOp: StepKind.EMBED,
    kv.TransferOp: StepKind.KV_TRANSFER,
    InvokeOp: StepKind.TOOL,
    LookupOp: StepKind.TOOL,
    ComputeOp: StepKind.TOOL,
    mem.LoadOp: StepKind.RECALL,
    mem.StoreOp: StepKind.REMEMBER,
    mem.SearchOp: StepKind.MEMORY_SEARCH,
    ApplyOp: StepKind.APPLY,
    FilterOp: StepKind.APPLY,
    ParseOp: StepKind.APPLY,
    ChooseOp: StepKind.CHOOSE,
    InterruptOp: StepKind.INTERRUPT,
}
_NOT_FOR_NODES = {"step", "visits", "partition", "variation"}


def emit_program(module: ModuleOp) -> Program:
    """The agent of a lowered module as plain data."""
    graph = agent_graph(module)
    names = {block: block_name(block) for block in graph.body.blocks}
    values = _name_values(graph, names)
    blocks = tuple(_emit_block(block, names, values) for block in graph.body.blocks)
    types = tuple(each.name.removeprefix("agent.") for each in graph.function_type.inputs)
    return Program(graph.sym_name.data, blocks, types)


def _name_values(graph: func.FuncOp, blocks: dict[Block, str]) -> dict[SSAValue, str]:
    names: dict[SSAValue, str] = {}
    for block, label in blocks.items():
        prefix = "" if block is graph.body.blocks[0] else f"{label}."
        for argument in block.args:
            names[argument] = f"{prefix}{argument.name_hint or f'argument{argument.index}'}"
        for step in steps_of(block):
            names |= dict.fromkeys(step.results, step.step_name)
    return names


def _emit_block(block: Block, blocks: dict[Block, str], values: dict[SSAValue, str]) -> program.Block:
    steps = tuple(_emit_step(op, values) for op in block.ops if op is not block.last_op)
    parameters = tuple(values[argument] for argument in block.args)
    return program.Block(blocks[block], parameters, steps, _emit_terminator(block, blocks, values))


def _emit_step(op: Operation, values: dict[SSAValue, str]) -> program.Step:
    retrieves = isinstance(op, ToolOp) and op.corpus is not None and not isinstance(op, ComputeOp)
    kind = StepKind.SEARCH if retrieves else _KINDS.get(type(op))
    if kind is None or not isinstance(op, StepOp):
        raise IRError(subject=op.name, problem="no node can run it", way_out="run the passes that lower it first")
    told = {key: value for key, value in scalars(op.attributes).items() if key not in _NOT_FOR_NODES}
    return program.Step(
        name=op.step_name,
        kind=kind,
        inputs=tuple(values[operand] for operand in op.operands),
        outputs=tuple(values[result] for result in op.results),
        attributes=told | dict(_for_nodes(op)),
    )


def _for_nodes(op: StepOp) -> Iterator[tuple[str, str]]:
    """What a node must know and no scalar attribute says."""
    if isinstance(op, ToolOp | mem.SearchOp):
        gives = whole(op.results[0].type).name.removeprefix("agent.")
        if gives != "text":
            yield program.GIVES, gives
    if isinstance(op, LookupOp) and any(_computes(use.operation, op) for use in op.found.uses):
        yield program.PART, program.LOOKUP
    if isinstance(op, FilterOp):
        yield program.REMOVES, program.THEN.join(kind.data for kind in op.removes)
    if isinstance(op, ChooseOp) and op.labels is not None:
        yield program.LABELS, program.THEN.join(label.data for label in op.labels)


def _computes(user: Operation, lookup: LookupOp) -> bool:
    return isinstance(user, ComputeOp) and user.tool == lookup.tool


def _emit_terminator(block: Block, blocks: dict[Block, str], values: dict[SSAValue, str]) -> Terminator:
    end = block.last_op
    if isinstance(end, func.ReturnOp):
        return Terminator(returns=tuple(values[operand] for operand in end.operands))
    jump = jump_of(block)
    targets = tuple(
        Target(blocks[to], tuple(values[argument] for argument in arguments), probability)
        for (to, arguments), probability in zip(jump.targets, jump.probabilities, strict=True)
    )
    return Terminator(targets, values[jump.selector] if jump.selector else None, (), jump.at_most)
