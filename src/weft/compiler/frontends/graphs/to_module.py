"""Graphs of a program → `func.func {agent.graph}`: one block a superstep, decisions as `agent.choose` with weights.

The state travels as one value of type messages. A node that calls a model is `llm.call` and the update of the state;
opaque Python is `data.apply`; what a Send fans out to is a worker function under `agent.map`. Whatever the program
does not say is an assumption, and each op that rests on one says so in `agent.provenance`.
"""

from collections import Counter

from xdsl.dialects import cf, func
from xdsl.dialects.builtin import (
    ArrayAttr,
    DenseIntElementsAttr,
    FloatAttr,
    FunctionType,
    ModuleOp,
    StringAttr,
    SymbolRefAttr,
    UnitAttr,
    VectorType,
    f64,
    i1,
    i32,
)
from xdsl.ir import Block, Region, SSAValue

from weft.compiler.attributes import labelled, spelled
from weft.compiler.dialects.agent import ChooseOp, MapOp
from weft.compiler.dialects.step import StepOp
from weft.compiler.dialects.types import MessagesType
from weft.compiler.frontends.graphs.assumptions import Assumptions, check_models
from weft.compiler.frontends.graphs.graph import START, Graph, Imported
from weft.compiler.frontends.graphs.markings import (
    Decide,
    Decision,
    Done,
    Frame,
    Inner,
    Markings,
    Position,
    Run,
    walk,
)
from weft.compiler.frontends.graphs.node_steps import NodeSteps, merge
from weft.compiler.frontends.graphs.split_tools import split_agent_tools
from weft.compiler.parse import verify
from weft.core.errors import ProgramError

STATE = MessagesType()


def to_module(imported: Imported, assumptions: Assumptions | None = None) -> ModuleOp:
    """The module of the one root graph, verified."""
    assumptions = assumptions or Assumptions()
    root = _root(imported)
    imported = split_agent_tools(imported)
    check_models(imported, _reachable(imported, root), assumptions)
    builder = _ModuleBuilder(imported, assumptions)
    graph = builder.function(root, _symbol(root))
    source = StringAttr(f"{imported.framework}:{imported.program}")
    graph.attributes |= {"agent.graph": UnitAttr(), "agent.source": source}
    module = ModuleOp([graph, *builder.workers])
    verify(module, imported.program)
    return module


def _items_seen(graph: Graph, node: str) -> float | None:
    """Mean items of a fan-out that was traced."""
    for edge in graph.edges:
        if edge.target == node and edge.fan_out and edge.seen and edge.seen.count and edge.probability:
            source = next((each.seen for each in graph.nodes if each.name == edge.source), None)
            return edge.seen.count / (edge.probability * (source.count if source else 1))
    return None


def _root(imported: Imported) -> str:
    if len(imported.roots) != 1:
        raise ProgramError(
            subject=imported.program,
            problem=f"holds {len(imported.roots)} graphs: {', '.join(imported.roots)}",
            way_out=f"name the one to make a module of: {imported.program}:{imported.roots[-1]}",
        )
    return imported.roots[0]


def _reachable(imported: Imported, root: str) -> tuple[Graph, ...]:
    found: dict[str, Graph] = {}
    todo = [root]
    while todo:
        graph = imported.graph(todo.pop())
        found[graph.name] = graph
        todo += [inner for node in graph.nodes for inner in node.subgraphs if inner not in found]
    return tuple(found.values())


class _ModuleBuilder:
    """Builds functions; `workers` are those that a map calls. Step names are unique in the module."""

    def __init__(self, imported: Imported, assumptions: Assumptions) -> None:
        self._imported = imported
        self._assumptions = assumptions
        self._names: Counter[str] = Counter()
        self.workers: list[func.FuncOp] = []

    def function(self, root: str, symbol: str) -> func.FuncOp:
        markings = Markings(self._imported, root)
        return self._lower(markings, symbol)

    def worker(self, frame: Frame, node: str) -> str:
        """A function that runs one node of a frontier, for `agent.map`."""
        symbol = self.name(f"@{_symbol(f'{frame.path}{node}')}", "", "_").removeprefix("@")
        alone = Frame(frame.graph, frame.path, (node,))
        self.workers.append(self._lower(_OneNode(self._imported, alone), symbol))
        return symbol

    def name(self, name: str, beside: str, separator: str = "@") -> str:
        """`name` where it is free; else with what runs beside it, else with a number."""
        for candidate in (name, f"{name}{separator}{beside}" if beside else name):
            if not self._names[candidate]:
                self._names[candidate] += 1
                return candidate
        self._names[name] += 1
        return self.name(f"{name}{separator}{self._names[name]}", beside, separator)

    def _lower(self, markings: Markings, symbol: str) -> func.FuncOp:
        following = dict(walk(markings))
        following = {
            position: [(_forward(each, following), p) for each, p in next_] for position, next_ in following.items()
        }
        start = _forward(markings.start(), following)
        arrivals = Counter(
            each for position, next_ in following.items() if not isinstance(position, Inner) for each, _ in next_
        )
        heads = [start, *(each for each in following if _is_head(each, following, arrivals) and each != start)]
        blocks = {head: Block(arg_types=[STATE]) for head in heads}
        region = Region(list(blocks.values()))
        if arrivals[start]:  # nothing may jump to the entry block
            entry = Block(arg_types=[STATE])
            entry.args[0].name_hint = "state"
            entry.add_op(cf.BranchOp(blocks[start], entry.args[0]))
            region.insert_block(entry, 0)
        for head, block in blocks.items():
            self._block(markings, head, block, following, blocks)
        _name_blocks(region)
        return func.FuncOp(symbol, FunctionType.from_lists([STATE], [STATE]), region)

    def _block(
        self,
        markings: Markings,
        position: Position,
        block: Block,
        following: dict[Position, list[tuple[Position, float]]],
        blocks: dict[Position, Block],
    ) -> None:
        """The ops of a position, and of those that can only come after it."""
        state: SSAValue = block.args[0]
        state.name_hint = "state"
        while True:
            if isinstance(position, Done):
                block.add_op(func.ReturnOp(state))
                return
            if isinstance(position, Decide):
                decision = markings.decisions(position.stack[-1])[position.index]
                targets = [blocks[each] for each, _ in following[position]]
                self._decide(block, position, decision, targets, state)
                return
            assert isinstance(position, Run)
            state = self._run(markings, position.stack[-1], block, state)
            position = following[position][0][0]
            if position in blocks:
                block.add_op(cf.BranchOp(blocks[position], state))
                return

    def _run(self, markings: Markings, frame: Frame, block: Block, state: SSAValue) -> SSAValue:
        """All nodes of a frontier on the same state; their updates are merged."""
        results: list[SSAValue] = []
        for node in markings.nodes(frame):
            beside = "+".join(name for name in frame.frontier if name != node.name) or "again"
            if node.name in frame.mapped:
                results.append(self._map(frame, node.name, block, state, beside))
                continue
            steps = NodeSteps(node, f"{frame.path}{node.name}", beside, self._assumptions, self.name)
            results.append(steps.add_to(block, state))
        if len(results) < 2:
            return results[0] if results else state
        joined = merge(self.name(f"{frame.path}{'+'.join(frame.frontier)}", ""), results)
        block.add_op(joined)
        return joined.output

    def _map(self, frame: Frame, node: str, block: Block, state: SSAValue, beside: str) -> SSAValue:
        name = self.name(f"{frame.path}{node}.each", beside)
        seen = _items_seen(self._imported.graph(frame.graph), node)
        operation = MapOp.build(
            operands=[state],
            attributes={
                "step": StringAttr(name),
                "worker": SymbolRefAttr(self.worker(frame, node)),
                "width": FloatAttr(self._assumptions.width if seen is None else seen, f64),
                "agent.provenance": StringAttr("assumed" if seen is None else "observed"),
            },
            result_types=[STATE],
        )
        block.add_op(operation)
        return operation.gathered

    def _decide(
        self, block: Block, position: Decide, decision: Decision, targets: list[Block], state: SSAValue
    ) -> None:
        weights = [option.probability for option in decision.options]
        if len(targets) == 1:
            block.add_op(cf.BranchOp(targets[0], state))
            return
        frame = position.stack[-1]
        where = "START" if decision.node == START else decision.node
        name = self.name(f"{frame.path}{where}.{decision.router or 'goto'}", "+".join(frame.frontier))
        attributes = {
            "step": StringAttr(name),
            "function": StringAttr(decision.router or "goto"),
            "core_s": FloatAttr(self._assumptions.router_core_s, f64),
            "agent.labels": ArrayAttr([StringAttr(option.label) for option in decision.options]),
        }
        binary = len(targets) == 2
        if not binary:
            attributes["labels"] = attributes.pop("agent.labels")
        choose = ChooseOp.build(operands=[[state]], attributes=attributes, result_types=[i1 if binary else i32])
        block.add_op(choose)
        if binary:  # label 1 is the true side
            jump = cf.ConditionalBranchOp(choose.chosen, targets[1], [state], targets[0], [state])
            weights = [weights[1], weights[0]]
        else:
            cases = DenseIntElementsAttr.from_list(VectorType(i32, (len(targets) - 1,)), list(range(1, len(targets))))
            jump = cf.SwitchOp(choose.chosen, targets[0], [state], cases, targets[1:], [[state] for _ in targets[1:]])
        jump.attributes["agent.weights"] = ArrayAttr([FloatAttr(weight, f64) for weight in _exact(weights)])
        jump.attributes["agent.provenance"] = StringAttr(str(decision.provenance))
        block.add_op(jump)


class _OneNode(Markings):
    """The automaton of one node alone: it runs, with the graphs inside it, and that is all."""

    def __init__(self, imported: Imported, frame: Frame) -> None:
        super().__init__(imported, frame.graph)
        self._frame = frame

    def start(self) -> Position:
        return Run((self._frame,))

    def decisions(self, frame: Frame) -> list[Decision]:
        return [] if frame == self._frame else super().decisions(frame)

    def _next(self, position: Decide) -> Position:
        return Done() if position.stack[-1] == self._frame else super()._next(position)


def _forward(position: Position, following: dict[Position, list[tuple[Position, float]]]) -> Position:
    """Where a run really goes on: entering an inner graph is no work."""
    seen: set[Position] = set()
    while isinstance(position, Inner) and position not in seen:
        seen.add(position)
        position = following[position][0][0]
    return position


def _is_head(
    position: Position, following: dict[Position, list[tuple[Position, float]]], arrivals: Counter[Position]
) -> bool:
    """Whether a position starts a block: it is jumped to by a decision, or from several places."""
    if isinstance(position, Inner):
        return False
    by_decision = any(
        isinstance(origin, Decide) and any(each == position for each, _ in next_) for origin, next_ in following.items()
    )
    return by_decision or arrivals[position] > 1


def _exact(weights: list[float]) -> list[float]:
    """Probabilities that sum to 1 as printed."""
    rounded = [round(weight, 9) for weight in weights]
    rounded[-1] = round(1 - sum(rounded[:-1]), 9)
    return rounded


def _symbol(name: str) -> str:
    return spelled(name).replace(".", "_")


def _name_blocks(region: Region) -> None:
    """Blocks are called after their first step; those without one after where they lead."""
    taken: set[str] = set()
    for block in list(region.blocks)[1:]:
        steps = [each.step_name for each in block.ops if isinstance(each, StepOp)]
        label = name = labelled(steps[0] if steps else "end" if isinstance(block.last_op, func.ReturnOp) else "enter")
        number = 1
        while label in taken:
            number += 1
            label = f"{name}.{number}"
        taken.add(label)
        block.name_hint = label
