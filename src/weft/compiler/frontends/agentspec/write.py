# pyright: standard
"""A module → an Agent Spec Flow: each step a node, blocks one after the other, choices as branching nodes, maps as map
nodes over the worker's flow. Sizes and chances go into `metadata.weft`; what has no word there is told.
"""

from itertools import pairwise
from typing import Any

from pyagentspec import AgentSpecSerializer, Property
from pyagentspec.flows.edges import ControlFlowEdge, DataFlowEdge
from pyagentspec.flows.flow import Flow
from pyagentspec.flows.nodes import (
    BranchingNode,
    EndNode,
    FlowNode,
    InputMessageNode,
    LlmNode,
    MapNode,
    StartNode,
    ToolNode,
)
from pyagentspec.llms import OpenAiCompatibleConfig
from pyagentspec.tools import ServerTool
from xdsl.dialects import func
from xdsl.dialects.builtin import ArrayAttr, FloatAttr, IntegerAttr, ModuleOp, StringAttr
from xdsl.ir import Attribute, Block, BlockArgument, Operation, SSAValue

from weft.compiler.control_flow import agent_graph, block_name, jump_of
from weft.compiler.dialects.agent import ChooseOp, InterruptOp, MapOp
from weft.compiler.dialects.data import ApplyOp
from weft.compiler.dialects.llm import CallOp
from weft.compiler.dialects.step import StepOp
from weft.compiler.dialects.tool import InvokeOp
from weft.compiler.frontends.agentspec.read import METADATA
from weft.core.errors import IRError

_KEPT = ("core_s", "isl", "osl", "max_tokens", "chunk_tokens", "variation", "models", "corpus", "voice", "width")
_URL = "http://localhost:8000/v1"
_RESULT = "result"


def write_flow(module: ModuleOp, json: bool) -> tuple[str, tuple[str, ...]]:
    writer = _Writer(module)
    flow = writer.flow(agent_graph(module))
    serializer = AgentSpecSerializer()
    return (serializer.to_json(flow) if json else serializer.to_yaml(flow)), tuple(dict.fromkeys(writer.told))


class _Writer:
    def __init__(self, module: ModuleOp) -> None:
        self._functions = {op.sym_name.data: op for op in module.ops if isinstance(op, func.FuncOp)}
        self._flows: dict[str, Flow] = {}
        self.told: list[str] = []

    def flow(self, function: func.FuncOp) -> Flow:
        name = function.sym_name.data
        if name not in self._flows:
            self._flows[name] = _FlowWriter(self, function).build()
        return self._flows[name]

    def named(self, symbol: str) -> Flow:
        return self.flow(self._functions[symbol])


class _FlowWriter:
    """Builds one Flow. `_steps` are the nodes of each block, in order; `_made` the node of an operation."""

    def __init__(self, writer: _Writer, function: func.FuncOp) -> None:
        self._writer = writer
        self._function = function
        self._inputs = [_text(argument.name_hint or f"input_{i}") for i, argument in enumerate(function.args)]
        self._start = StartNode(name="start", inputs=self._inputs)
        self._nodes: list[Any] = [self._start]
        self._steps: dict[Block, list[Any]] = {}
        self._made: dict[Operation, Any] = {}
        self._edges: list[ControlFlowEdge] = []

    def build(self) -> Flow:
        blocks = list(self._function.body.blocks)
        for block in blocks:
            self._steps[block] = [self._node(op) for op in _in_turn(block)]
            self._side_by_side(block)
            if isinstance(block.last_op, func.ReturnOp):
                self._steps[block].append(self._end(block.last_op))
        self._control(self._start, None, self._first(blocks[0]), None)
        for block in blocks:
            steps = self._steps[block]
            for before, after in pairwise(steps):
                self._control(before, None, after, None)
            self._leave(block)
        return Flow(
            name=self._function.sym_name.data,
            start_node=self._start,
            nodes=self._nodes,
            control_flow_connections=self._edges,
            data_flow_connections=list(self._data()),
        )

    # --- control flow

    def _first(self, block: Block) -> Any:
        """The first node that a run meets from a block on."""
        seen: set[Block] = set()
        while not self._steps[block] and block not in seen:
            seen.add(block)
            block = jump_of(block).targets[0][0]
        if not self._steps[block]:
            node = InputMessageNode(name="nothing")
            self._nodes.append(node)
            self._steps[block] = [node]
        return self._steps[block][0]

    def _leave(self, block: Block) -> None:
        jump, steps = jump_of(block), self._steps[block]
        if not jump.targets or not steps:
            return
        if jump.selector is None:
            self._control(steps[-1], None, self._first(jump.targets[0][0]), None)
            return
        chooser = steps[-1]
        if jump.at_most is not None:
            self._writer.told.append(f"{chooser.name}: a bound of {jump.at_most} rounds is in metadata only")
        for index, ((target, _), chance) in enumerate(zip(jump.targets, jump.probabilities, strict=True)):
            branch = BranchingNode.DEFAULT_BRANCH if index == 0 else self._labels(chooser)[index]
            kept = {"probability": chance} | ({"at_most": jump.at_most} if jump.at_most is not None else {})
            self._control(chooser, branch, self._first(target), kept)

    def _control(self, source: Any, branch: str | None, target: Any, kept: dict[str, Any] | None) -> None:
        name = f"{source.name} to {target.name}" + (f" ({branch})" if branch else "")
        metadata = {METADATA: kept} if kept else {}
        edge = ControlFlowEdge(name=name, from_node=source, from_branch=branch, to_node=target, metadata=metadata)
        self._edges.append(edge)

    def _labels(self, node: BranchingNode) -> list[str]:
        return [BranchingNode.DEFAULT_BRANCH, *node.mapping.values()]

    # --- nodes

    def _node(self, op: Operation) -> Any:
        node = self._made[op] = self._made_from(op)
        self._nodes.append(node)
        return node

    def _made_from(self, op: Operation) -> Any:
        kept = {METADATA: _attributes(op)}
        inputs = [_text(_input(index)) for index, _ in enumerate(op.operands)]
        match op:
            case CallOp():
                config = OpenAiCompatibleConfig(name=op.model.data, url=_URL, model_id=op.model.data)
                return LlmNode(
                    name=op.step_name,
                    llm_config=config,
                    prompt_template=f"{{{{{_input(0)}}}}}",
                    outputs=[_text(_RESULT)],
                    metadata=kept,
                )
            case ChooseOp():
                return BranchingNode(name=op.step_name, mapping=_mapping(op), inputs=inputs[:1], metadata=kept)
            case InterruptOp():
                self._writer.told.append(f"{op.step_name}: what the person is shown is not in the flow")
                return InputMessageNode(name=op.step_name, outputs=[_text(_RESULT)], metadata=kept)
            case MapOp():
                flow = self._writer.named(op.worker.root_reference.data)
                self._writer.told.append(f"{op.step_name}: its width is in metadata only")
                return MapNode(name=op.step_name, subflow=flow, metadata=kept)
            case func.CallOp():
                name = op.callee.root_reference.data
                return FlowNode(name=name, subflow=self._writer.named(name))
            case StepOp():
                if not isinstance(op, ApplyOp | InvokeOp):
                    self._writer.told.append(f"{op.step_name}: {op.name} is a server tool in the flow")
                tool = ServerTool(name=_function(op), inputs=inputs, outputs=[_text(_RESULT)])
                return ToolNode(
                    name=op.step_name, tool=tool, metadata=kept | {METADATA: _attributes(op) | {"op": op.name}}
                )
            case _:
                raise AssertionError(op.name)

    def _end(self, op: Operation) -> EndNode:
        taken = {node.name for node in self._nodes}
        name = next(each for each in ("end", *(f"end {n}" for n in range(2, 1 << 20))) if each not in taken)
        node = self._made[op] = EndNode(name=name, outputs=[_text(_RESULT)] if op.operands else [])
        self._nodes.append(node)
        return node

    def _side_by_side(self, block: Block) -> None:
        """A Flow runs one node after the other; a block, all that do not wait for each other."""
        ops = [op for op in _in_turn(block) if isinstance(op, StepOp) and not isinstance(op, ChooseOp)]
        for before, after in pairwise(ops):
            if not any(operand.owner is before for operand in after.operands):
                text = f"{before.step_name} and {after.step_name} may run side by side; the flow runs them in turn"
                self._writer.told.append(text)

    # --- data flow

    def _data(self) -> Any:
        for op, node in self._made.items():
            names = [each.title for each in node.inputs or []]
            for operand, name in zip(op.operands, names, strict=False):
                for source, output in self._sources(operand, set()):
                    yield DataFlowEdge(
                        name=f"{source.name}.{output} to {node.name}.{name}",
                        source_node=source,
                        source_output=output,
                        destination_node=node,
                        destination_input=name,
                    )

    def _sources(self, value: SSAValue, seen: set[SSAValue]) -> list[tuple[Any, str]]:
        """The nodes whose output a value may be, through block arguments."""
        if value in seen:
            return []
        seen.add(value)
        if not isinstance(value, BlockArgument):
            node = self._made.get(value.owner) if isinstance(value.owner, Operation) else None
            return [(node, node.outputs[0].title)] if node is not None and node.outputs else []
        if value.block is self._function.body.blocks.first:
            return [(self._start, self._inputs[value.index].title)]
        found: list[tuple[Any, str]] = []  # pyagentspec's components cannot be compared with those of other types
        for block in self._function.body.blocks:
            for target, arguments in jump_of(block).targets:
                if target is value.block:
                    found += self._sources(arguments[value.index], seen)
        return found


def _in_turn(block: Block) -> list[Operation]:
    """The steps of a block, the choice that ends it last."""
    selector = jump_of(block).selector
    chooser = selector.owner if selector is not None else None
    if chooser is not None and not (isinstance(chooser, ChooseOp) and chooser.parent is block):
        raise IRError(
            subject=f"block {block_name(block)}",
            problem="turns on a value that no agent.choose of this block makes",
            way_out="put the choice into the block that it ends",
        )
    steps = [op for op in block.ops if isinstance(op, StepOp | func.CallOp) and op is not chooser]
    return [*steps, *([chooser] if isinstance(chooser, ChooseOp) else [])]


def _text(title: str) -> Property:
    return Property(json_schema={"title": title, "type": "string"})


def _input(index: int) -> str:
    return f"input_{index}"


def _mapping(op: ChooseOp) -> dict[str, str]:
    """Answer → branch, without the default; equal labels get their number."""
    labels = [each.data for each in op.labels] if op.labels else ["no", "yes"]
    names = [f"{label} {i}" if labels.count(label) > 1 else label for i, label in enumerate(labels)]
    return {name: name for name in names[1:]}


def _function(op: StepOp) -> str:
    named = [op.attributes.get(key) or op.properties.get(key) for key in ("function", "tool")]
    return next((each.data for each in named if isinstance(each, StringAttr)), op.name)


def _attributes(op: Operation) -> dict[str, Any]:
    found = {**op.properties, **op.attributes}
    return {key: _plain(found[key]) for key in _KEPT if key in found}


def _plain(value: Attribute) -> Any:
    match value:
        case IntegerAttr() | FloatAttr():
            return value.value.data
        case StringAttr():
            return value.data
        case ArrayAttr():
            return [_plain(each) for each in value]
        case _:
            return str(value)
