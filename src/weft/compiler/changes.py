"""Which steps of an agent have changed since they were verified: passes change few of many, and verifying is dear."""

from collections.abc import Iterator, Mapping, Set
from dataclasses import dataclass
from functools import cache

from xdsl.dialects import func
from xdsl.dialects.builtin import ModuleOp
from xdsl.ir import Attribute
from xdsl.traits import SymbolUserOpInterface

from weft.compiler.control_flow import agent_graph, steps_of
from weft.compiler.dialects.step import LEARNED, StepOp


@dataclass(frozen=True, slots=True)
class _Look:
    """All of a step that its verifier reads. `body`: the op's own parts, compared by identity first."""

    body: tuple[object, ...]
    attributes: Mapping[str, Attribute]

    def learned(self, before: "_Look | None") -> Set[str] | None:
        """What the step learned since; None where more than that has changed."""
        if before is None or before.body != self.body:
            return None
        if before.attributes == self.attributes:
            return frozenset()
        both = before.attributes.keys() | self.attributes.keys()
        names = {name for name in both if before.attributes.get(name) != self.attributes.get(name)}
        return names & self.attributes.keys() if names <= LEARNED else None


class Changes:
    """Remembers how each step looked."""

    def __init__(self) -> None:
        self._looks: dict[StepOp, _Look] = {}

    @classmethod
    def since(cls, module: ModuleOp) -> "Changes":
        """From a module that is verified as it stands."""
        changes = cls()
        changes.since_last(agent_graph(module))
        return changes

    def since_last(self, graph: func.FuncOp) -> Iterator[tuple[StepOp, Set[str]]]:
        """Steps that have changed since the last time, with what they learned; without, where they look otherwise, or
        take a value from one that does: verifiers look at the makers of their operands too. Symbols may change far
        away: who uses one has always changed."""
        looks = {step: _look(step) for block in graph.body.blocks for step in steps_of(block)}
        learned = {step: look.learned(self._looks.get(step)) for step, look in looks.items()}
        self._looks = looks
        return _changed(learned)


def _changed(learned: Mapping[StepOp, Set[str] | None]) -> Iterator[tuple[StepOp, Set[str]]]:
    others = {step for step, names in learned.items() if names is None}
    for step, names in learned.items():
        if step in others or _uses_symbols(type(step)) or (others and not others.isdisjoint(_makers(step))):
            yield step, frozenset()
        elif names:
            yield step, names


@cache
def _uses_symbols(kind: type[StepOp]) -> bool:
    return kind.has_trait(SymbolUserOpInterface)


def _look(step: StepOp) -> _Look:
    operands = tuple(step.operands)
    types = [each.type for each in (*operands, *step.results)]
    return _Look((operands, types, dict(step.properties), step.next_op is None), dict(step.attributes))


def _makers(step: StepOp) -> set[object]:
    return {operand.owner for operand in step.operands}
