"""One run of a stub agent: blocks, jumps, calls, maps, effects. See the package for what it is good for.

xDSL has an interpreter framework; it dispatches to one function an op, where here one rule serves all ops but a few,
and it keeps a scope for every block that a run enters.

Choices are functions of what they look at: the value, and the seed, give a number from 0 to 1, and the jump that turns
on it takes the side on which that number falls by its weights. A loop that goes round with nothing changed would go
round for ever; so would the real agent. Bounds (`agent.at_most`) count per run and place of the call or map, as
inlining and expanding make them. The items of a map run on values `item 0`, `item 1`, … of the list. A person's answer
is a function of what was shown and of all that happened before.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from xdsl.dialects import func
from xdsl.dialects.builtin import ModuleOp, StringAttr
from xdsl.ir import Block, Operation, SSAValue
from xdsl.traits import IsTerminator

from weft.compiler.control_flow import Jump, agent_graph, block_name, jump_of
from weft.compiler.dialects.agent import ChooseOp, MapOp
from weft.compiler.dialects.step import StepOp
from weft.compiler.dialects.tool import ComputeOp, InvokeOp, LookupOp
from weft.compiler.effects import Effect, is_idempotent, own_effect
from weft.compiler.functions import callee_name, callee_of, callees_first, functions_of
from weft.compiler.interpret.meaning import Meanings, function, is_move, item
from weft.compiler.interpret.result import AgentResult, Interpretation, Visit
from weft.compiler.interpret.values import Digests, Term, Value, after_all, applied, digest_of
from weft.core.errors import IRError
from weft.core.program import GATHER

MOST_BLOCKS = 20_000
"""Block visits of one run."""


def interpret(module: ModuleOp, seed: int = 0) -> Interpretation:
    """Runs the agent of a module that verifies. The inputs are stubs called after their types."""
    functions = functions_of(module)
    callees_first(functions)  # refuses recursion
    graph = agent_graph(module)
    inputs = [Value(Term(f"input {at} {each}")) for at, each in enumerate(graph.function_type.inputs)]
    run = _Run(module, Digests(seed))
    returned = run.function(graph, inputs, _Frame())
    digests = tuple(run.digests.of(each) for each in returned)
    result = AgentResult(digests, tuple(each.digest for each in run.effects if each.writes))
    words = tuple(each.words for each in run.effects if each.writes)
    return Interpretation(result, words, frozenset(run.races), tuple(run.trace))


@dataclass
class _Frame:
    """One run of one function, by way of `calls`. `before`: the effects, as bits, that all steps of the current block
    come after."""

    calls: tuple[Operation, ...] = ()
    before: int = 0
    done: int = 0

    @property
    def path(self) -> tuple[str, ...]:
        return tuple(_place(each) for each in self.calls)


@dataclass(frozen=True, slots=True)
class _Effect:
    digest: str
    words: str
    writes: bool


@dataclass
class _Run:
    module: ModuleOp
    digests: Digests
    effects: list[_Effect] = field(default_factory=list["_Effect"])
    races: set[tuple[str, str]] = field(default_factory=set[tuple[str, str]])
    trace: list[Visit] = field(default_factory=list[Visit])

    def __post_init__(self) -> None:
        self._functions = functions_of(self.module)
        self._taken: Counter[tuple[tuple[Operation, ...], Block]] = Counter()
        self._world = ""
        self._writes = 0
        self._blocks = 0
        self._jumps: dict[Block, Jump] = {}
        self._meanings = Meanings()

    def function(self, function: func.FuncOp, inputs: Sequence[Value], frame: _Frame) -> tuple[Value, ...]:
        values: dict[SSAValue, Value] = {}
        block, arguments = function.body.blocks[0], list(inputs)
        while True:
            self._count(block)
            values.update(zip(block.args, arguments, strict=True))
            for op in block.ops:
                if not op.has_trait(IsTerminator):
                    given = [values[operand] for operand in op.operands]
                    values.update(zip(op.results, self._step(op, given, frame), strict=True))
            jump = self._jump(block)
            if not jump.targets:
                assert block.last_op is not None
                return tuple(values[each] for each in block.last_op.operands)
            frame.before |= frame.done
            target, sent = jump.targets[self._label(jump, block, values, frame)]
            block, arguments = target, [values[each] for each in sent]

    def _jump(self, block: Block) -> Jump:
        if block not in self._jumps:
            self._jumps[block] = jump_of(block)
        return self._jumps[block]

    def _step(self, op: Operation, inputs: Sequence[Value], frame: _Frame) -> tuple[Value, ...]:
        callee = callee_of(op, self._functions)
        if isinstance(op, MapOp):
            assert callee is not None
            results = self._map(op, callee, inputs, frame)
        elif callee is not None:
            results = self._call(op, callee, inputs, frame)
        elif isinstance(op, InvokeOp) and 0 < op.share_of_lookup < 1:
            effect, known = own_effect(op), self._meanings.made(op)
            found = self._does(
                op, min(effect, Effect.READS), known.replace(ComputeOp.name, LookupOp.name), inputs, frame
            )
            results = self._does(op, effect, known, found, frame)
        else:
            results = self._does(op, own_effect(op), self._meanings.made(op), inputs, frame)
        if isinstance(op, StepOp) and not isinstance(op, ChooseOp):
            self.trace.append(Visit(frame.path, op.step_name, op.name, self._meanings.made(op)))
        return results

    def _call(self, call: Operation, callee: func.FuncOp, inputs: Sequence[Value], frame: _Frame) -> tuple[Value, ...]:
        """What the callee did is done before its results are there."""
        inner = _Frame((*frame.calls, call), frame.before | after_all(inputs))
        results = self.function(callee, inputs, inner)
        frame.done |= inner.done
        return tuple(Value(each.term, each.after | inner.done) for each in results)

    def _map(self, op: MapOp, worker: func.FuncOp, inputs: Sequence[Value], frame: _Frame) -> tuple[Value, ...]:
        (items,) = inputs
        gathered: list[Value] = []
        for number in range(max(1, round(op.width.value.data))):
            gathered += self._call(op, worker, [item(items, number)], frame)
        return (function(GATHER, gathered),)

    def _does(
        self, op: Operation, effect: Effect, known: str, inputs: Sequence[Value], frame: _Frame
    ) -> tuple[Value, ...]:
        """`known` is what the op means. Reads and writes see the world as all writes before have made it."""
        if is_move(op) or effect < Effect.READS:
            return self._meanings.outputs(op, known, inputs)
        given, writes = [self.digests.of(each) for each in inputs], effect is Effect.WRITES
        digest, number = digest_of(known, *given), len(self.effects)
        before = frame.before | after_all(inputs)
        latest = next((each.digest for each in reversed(self.effects) if each.writes), None)
        if not (writes and is_idempotent(op) and latest == digest):
            self._note_races(op, writes, before)
            self.effects.append(_Effect(digest, f"{_words(op)}({', '.join(each[:8] for each in given)})", writes))
            frame.done |= 1 << number
            before |= 1 << number
            if writes:
                self._writes |= 1 << number
                self._world = digest_of(self._world, digest)
        terms = (applied(f"{known} #{at} in {self._world}", inputs).term for at in range(len(op.results)))
        return tuple(Value(term, before) for term in terms)

    def _note_races(self, op: Operation, writes: bool, before: int) -> None:
        """With earlier effects that this one does not come after, if either of the two writes."""
        beside = ((1 << len(self.effects)) - 1 if writes else self._writes) & ~before
        while beside:
            latest = beside.bit_length() - 1
            beside ^= 1 << latest
            self.races.add((self.effects[latest].words.partition("(")[0], _words(op)))

    def _label(self, jump: Jump, block: Block, values: dict[SSAValue, Value], frame: _Frame) -> int:
        if jump.selector is None:
            return 0
        label = _side(self.digests.share(values[jump.selector]), jump.probabilities)
        place = frame.calls, block
        if label and jump.at_most is not None and self._taken[place] >= jump.at_most:
            label = 0
        if label:
            self._taken[place] += 1
        self._trace_choice(jump, label, frame)
        return label

    def _trace_choice(self, jump: Jump, label: int, frame: _Frame) -> None:
        owner = jump.selector.owner if jump.selector is not None else None
        if isinstance(owner, ChooseOp):
            known = None if owner.labels is None else owner.labels.data[label].data
            word = known or ("yes" if label else "no")
            self.trace.append(Visit(frame.path, owner.step_name, owner.name, self._meanings.made(owner), word))

    def _count(self, block: Block) -> None:
        self._blocks += 1
        if self._blocks > MOST_BLOCKS:
            raise IRError(
                subject=f"block {block_name(block)!r}",
                problem=f"is in a loop that has not ended after {MOST_BLOCKS:,} blocks",
                way_out="let the loop change what its choice looks at, or bound it (agent.at_most)",
            )


def _side(share: float, probabilities: Sequence[float]) -> int:
    """Which label a number from 0 to 1 falls on; labels without probability are never taken."""
    upper = 0.0
    possible = [label for label, probability in enumerate(probabilities) if probability > 0]
    for label in possible:
        upper += probabilities[label]
        if share < upper:
            return label
    return possible[-1]


def _place(call: Operation) -> str:
    """What a call or a map is known by."""
    step = call.attributes.get("step")
    return step.data if isinstance(step, StringAttr) else callee_name(call) or call.name


def _words(op: Operation) -> str:
    for key in ("tool", "memory", "step"):
        name = op.attributes.get(key)
        if isinstance(name, StringAttr):
            return f"{op.name} {name.data}"
    return op.name
