"""cse: of two equal steps on equal inputs one runs, and both results are its own.

Steps may be merged if they are functions of their inputs (`weft.compiler.effects`): data steps, transcription,
retrieval from a corpus, tools that declare it, and language models at `temperature = 0.0`; other replies are random
draws, each its own. Two equal reads become one where nothing between them in their block may write. Caches are used
up by the step that reads them, and choices cost nothing: neither is merged. The one that stays is the one that every
run comes to first: in the same block, or in one before it through which every way to the other leads.

Preserves: the agent's result. Visits and θ only go down.
"""

from dataclasses import dataclass

from xdsl.context import Context
from xdsl.dialects import func
from xdsl.dialects.builtin import ModuleOp
from xdsl.ir import Attribute, Block, Operation, SSAValue
from xdsl.passes import ModulePass
from xdsl.traits import IsTerminator

from weft.compiler.dialects.agent import ChooseOp
from weft.compiler.dialects.step import StepOp
from weft.compiler.dialects.types import KvType
from weft.compiler.effects import Effect, Effects
from weft.compiler.rewriting import erase

Key = tuple[str, frozenset[tuple[str, Attribute]], tuple[SSAValue, ...]]
Known = dict[Key, Operation]

NAMES = frozenset({"step", "agent.provenance"})
"""Attributes in which equal steps may differ."""


@dataclass(frozen=True)
class Cse(ModulePass):
    name = "cse"

    def apply(self, ctx: Context, op: ModuleOp) -> None:
        effects = Effects(op)
        for function in op.ops:
            if isinstance(function, func.FuncOp):
                _merge_equal(function, effects)


def _merge_equal(function: func.FuncOp, effects: Effects) -> None:
    """A block knows what the only block before it knows: walked as trees, each forgetting what it added when left."""
    inside: dict[Block, list[Block]] = {block: [] for block in function.body.blocks}
    todo: list[tuple[Block, list[Key] | None]] = []
    for block in function.body.blocks:
        before = block.predecessors()
        if len(before) == 1:
            inside[before[0]].append(block)
        else:
            todo.append((block, None))
    known: Known = {}
    while todo:
        block, added = todo.pop()
        if added is not None:
            for key in added:
                del known[key]
            continue
        todo.append((block, _merge_in(block, known, effects)))
        todo += [(each, None) for each in inside[block]]


def _merge_in(block: Block, known: Known, effects: Effects) -> list[Key]:
    """The keys that the block adds."""
    added: list[Key] = []
    reads: Known = {}
    for op in list(block.ops):
        effect = effects.of(op) if not op.has_trait(IsTerminator) else Effect.NONE
        if effect is Effect.WRITES:
            reads.clear()
        if effect not in (Effect.NONE, Effect.READS) or not _may_be_merged(op):
            continue
        key, among = _key(op), known if effect is Effect.NONE else reads
        if key in among:
            _replace(op, among[key])
            continue
        among[key] = op
        if among is known:
            added.append(key)
    return added


def _may_be_merged(op: Operation) -> bool:
    if not isinstance(op, StepOp) or isinstance(op, ChooseOp):
        return False
    return not any(isinstance(result.type, KvType) for result in op.results)


def _key(op: Operation) -> Key:
    attributes = frozenset((key, value) for key, value in op.attributes.items() if key not in NAMES)
    return op.name, attributes, tuple(op.operands)


def _replace(op: Operation, equal: Operation) -> None:
    for result, value in zip(op.results, equal.results, strict=True):
        result.replace_all_uses_with(value)
    erase(op)
