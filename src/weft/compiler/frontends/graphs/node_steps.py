"""One node of a LangGraph program → step ops on the state: wait, call models, run tools, update."""

from collections.abc import Callable

from xdsl.dialects.builtin import FloatAttr, IntegerAttr, StringAttr, f64, i64
from xdsl.ir import Attribute, Block, SSAValue

from weft.compiler.dialects.agent import InterruptOp
from weft.compiler.dialects.data import ApplyOp
from weft.compiler.dialects.llm import CallOp
from weft.compiler.dialects.tool import InvokeOp
from weft.compiler.dialects.types import MessagesType, TextType
from weft.compiler.frontends.graphs.assumptions import Assumptions, known_model
from weft.compiler.frontends.graphs.graph import Model, Node, NodeKind, Provenance, Seen

GLUE_CORE_S = 1e-4
NameStep = Callable[[str, str], str]


class NodeSteps:
    """`path` is the node's name with those of the nodes around it; `beside` tells a second occurrence apart."""

    def __init__(self, node: Node, path: str, beside: str, assumptions: Assumptions, name: NameStep) -> None:
        self._node = node
        self._path = path
        self._beside = beside
        self._assumptions = assumptions
        self._name = name

    def add_to(self, block: Block, state: SSAValue) -> SSAValue:
        """The state after the node."""
        node = self._node
        if "before" in node.interrupts or "inside" in node.interrupts:
            state = self._wait(block, state, "wait")
        state = self._work(block, state)
        return self._wait(block, state, "wait_after") if "after" in node.interrupts else state

    def _work(self, block: Block, state: SSAValue) -> SSAValue:
        node = self._node
        if node.models:
            replies = [self._call(block, state, model, number) for number, model in enumerate(node.models)]
            return self._apply(block, [state, *replies], f"{self._path}.update", GLUE_CORE_S, MessagesType())
        if node.kind is NodeKind.TOOLS or node.kind is NodeKind.OPAQUE:
            return self._tools(block, state)
        if node.kind is NodeKind.SUBGRAPH:
            return state
        return self._apply(
            block, [state], self._path, self._core_s(node.seen, self._assumptions.python_core_s), MessagesType()
        )

    def _call(self, block: Block, state: SSAValue, model: Model, number: int) -> SSAValue:
        known = known_model(model, self._node.name, self._assumptions)
        assert known is not None, "checked before"
        seen, sizes = model.seen, self._assumptions
        isl = max(1, round(seen.input_tokens)) if seen else sizes.isl
        osl = max(1, round(seen.output_tokens)) if seen else sizes.osl
        own = self._path if not number else f"{self._path}.{model.name or f'model {number + 1}'}"
        call = CallOp.build(
            operands=[state],
            attributes={
                "step": StringAttr(self._name(own, self._beside)),
                "model": StringAttr(known),
                "isl": IntegerAttr(isl, i64),
                "osl": IntegerAttr(osl, i64),
                "max_tokens": IntegerAttr(max(sizes.max_tokens, osl), i64),
                "agent.provenance": StringAttr(_from(seen)),
                "agent.model": StringAttr(model.name or model.expression),
            },
            result_types=[TextType()],
        )
        block.add_op(call)
        return call.reply

    def _tools(self, block: Block, state: SSAValue) -> SSAValue:
        query = self._apply(block, [state], f"{self._path}.query", GLUE_CORE_S, TextType())
        tools = self._node.tools
        times = [tool.seen for tool in tools if tool.seen]
        weights = [max(seen.count, 1) for seen in times]
        mean = sum(seen.seconds * w for seen, w in zip(times, weights, strict=True)) / sum(weights) if times else None
        invoke = InvokeOp.build(
            operands=[query],
            attributes={
                "step": StringAttr(self._name(self._path, self._beside)),
                "tool": StringAttr(", ".join(tool.name for tool in tools) or self._node.function),
                "core_s": FloatAttr(max(mean, 1e-6) if mean is not None else self._assumptions.tool_core_s, f64),
                "agent.provenance": StringAttr(_from(times[0] if times else None)),
            },
            result_types=[TextType()],
        )
        block.add_op(invoke)
        return self._apply(block, [state, invoke.found], f"{self._path}.update", GLUE_CORE_S, MessagesType())

    def _apply(self, block: Block, inputs: list[SSAValue], name: str, core_s: float, gives: Attribute) -> SSAValue:
        apply = ApplyOp.build(
            operands=[inputs],
            attributes={
                "step": StringAttr(self._name(name, self._beside)),
                "function": StringAttr(self._node.function or self._node.name),
                "core_s": FloatAttr(core_s, f64),
                "node": StringAttr(self._path),  # functions of a name need not be one function
                "agent.provenance": StringAttr(_from(self._node.seen)),
            },
            result_types=[gives],
        )
        block.add_op(apply)
        return apply.output

    def _wait(self, block: Block, state: SSAValue, word: str) -> SSAValue:
        wait = InterruptOp.build(
            operands=[state],
            attributes={
                "step": StringAttr(self._name(f"{self._path}.{word}", self._beside)),
                "core_s": FloatAttr(GLUE_CORE_S, f64),
            },
            result_types=[state.type],
        )
        block.add_op(wait)
        return wait.answer

    @staticmethod
    def _core_s(seen: Seen | None, assumed_s: float) -> float:
        return max(seen.seconds, 1e-6) if seen else assumed_s


def _from(seen: Seen | None) -> str:
    if seen is None:
        return str(Provenance.ASSUMED)
    return str(Provenance.OBSERVED if seen.count else Provenance.DECLARED)


def merge(name: str, states: list[SSAValue]) -> ApplyOp:
    """The updates of nodes that ran at the same time, brought together by the channels' reducers."""
    attributes: dict[str, Attribute] = {
        "step": StringAttr(name),
        "function": StringAttr("reduce"),
        "core_s": FloatAttr(GLUE_CORE_S, f64),
    }
    return ApplyOp.build(operands=[states], attributes=attributes, result_types=[MessagesType()])
