"""partition: steps of one block and pool that feed each other form one `partition`, called after its first step.

A partition is what one compiled artifact can hold: it starts with all its inputs and ends with all its outputs. So no
partition waits for another one that waits for it, and those with effects can run in the order of their effects.

Preserves: everything; it only adds the attribute.
"""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field

from xdsl.context import Context
from xdsl.dialects.builtin import ModuleOp, StringAttr
from xdsl.ir import Block
from xdsl.passes import ModulePass

from weft.compiler.control_flow import agent_graph, steps_of
from weft.compiler.dialects.step import StepOp
from weft.compiler.effects import Effect, Effects
from weft.core.errors import IRError


@dataclass(frozen=True)
class Partition(ModulePass):
    name = "partition"

    def apply(self, ctx: Context, op: ModuleOp) -> None:
        effects = Effects(op)
        for block in agent_graph(op).body.blocks:
            _partition_block(block, effects)


def _partition_block(block: Block, effects: Effects) -> None:
    found = _Partitions()
    for step, makers, earlier in in_order(block, effects):
        if step.pool is None:
            raise unplaced(step, "run the place pass before partition")
        same = [each for each in makers if each.pool == step.pool]
        step.partition = StringAttr(found.add(step, [*makers, *earlier], same))


def in_order(block: Block, effects: Effects) -> Iterator[tuple[StepOp, list[StepOp], list[StepOp]]]:
    """Each step of a block, the steps there whose values it takes, and the step whose effect comes before its own."""
    latest: list[StepOp] = []
    for step in steps_of(block):
        makers = [operand.owner for operand in step.operands]
        acts = effects.of(step) >= Effect.READS
        yield (
            step,
            [each for each in makers if isinstance(each, StepOp) and each.parent is block],
            latest if acts else [],
        )
        latest = [step] if acts else latest


@dataclass
class _Partitions:
    """Of one block: which partition each step is in, and which partitions come right before each."""

    of: dict[StepOp, str] = field(default_factory=dict["StepOp", str])
    before: defaultdict[str, set[str]] = field(default_factory=lambda: defaultdict[str, set[str]](set))

    def add(self, step: StepOp, after: list[StepOp], same: list[StepOp]) -> str:
        """The partition of the first of `same` that may have it: none of the others comes after that one."""
        earlier = {self.of[each] for each in after}
        names = dict.fromkeys(self.of[each] for each in same)
        name = next((name for name in names if not self._waits(earlier - {name}, name)), step.step_name)
        self.of[step] = name
        self.before[name] |= earlier - {name}
        return name

    def _waits(self, todo: set[str], wanted: str) -> bool:
        """Whether one of `todo` comes after `wanted`."""
        seen: set[str] = set()
        while todo:
            seen |= todo
            todo = {each for name in todo for each in self.before[name]} - seen
        return wanted in seen


def unplaced(step: StepOp, way_out: str) -> IRError:
    return IRError(subject=f"step {step.step_name!r}", problem="has no pool", way_out=way_out)
