"""Which steps of an agent have changed since they were verified: passes change few of many, and verifying is dear."""

from collections.abc import Iterator

from xdsl.dialects import func
from xdsl.traits import SymbolUserOpInterface

from weft.compiler.control_flow import steps_of
from weft.compiler.dialects.step import StepOp

Look = tuple[object, ...]
"""All of a step that its verifier reads: the op's own parts, compared by identity first."""


class Changes:
    """Remembers how each step looked."""

    def __init__(self) -> None:
        self._looks: dict[StepOp, Look] = {}

    def since_last(self, graph: func.FuncOp) -> Iterator[StepOp]:
        """Steps that look otherwise than the last time, or take a value from one that does: verifiers look at the
        makers of their operands too. Symbols may change far away: who uses one has always changed."""
        looks = {step: _look(step) for block in graph.body.blocks for step in steps_of(block)}
        changed = {step for step, look in looks.items() if self._looks.get(step) != look}
        self._looks = looks
        for step in looks:
            if step in changed or not changed.isdisjoint(_makers(step)) or step.has_trait(SymbolUserOpInterface):
                yield step


def _look(step: StepOp) -> Look:
    types = (each.type for each in (*step.operands, *step.results))
    return *step.operands, *types, *step.attributes.items(), *step.properties.items(), step.next_op is None


def _makers(step: StepOp) -> set[object]:
    return {operand.owner for operand in step.operands}
