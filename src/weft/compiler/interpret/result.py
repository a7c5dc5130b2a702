"""What a run of a stub agent gives, and what of it two modules must agree on to mean the same.

**The agent's result** is (1) the values that the graph returns; (2) the sequence of its side effects: each tool that
writes, each person asked, with what they were given, in the order in which they happened. A repeated call of an
idempotent tool is no further effect. Equal for every seed means: whatever the models answer and however the choices
fall, nobody outside can tell the two modules apart. Not part of it: names of steps, how many steps there are, how often
a step without effects ran (a pass may merge, split, drop and speculate), where and when.

`races` are pairs of effects that ran side by side although their order can be seen: steps of one block that do not
depend on each other, one of which writes. A pass may take races away (by making an order), but never add one.
"""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class AgentResult:
    """Digests of the returned values, and of the effects in their order."""

    returned: tuple[str, ...]
    effects: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Visit:
    """One run of a step. `path` are the calls and map items around it; `detail` says what a choice chose."""

    path: tuple[str, ...]
    step: str
    op: str
    value: str
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Interpretation:
    """A run in full. `effects` are those of the result in words."""

    result: AgentResult
    effects: tuple[str, ...]
    races: frozenset[tuple[str, str]]
    trace: tuple[Visit, ...]

    @property
    def visits(self) -> Mapping[str, int]:
        """Runs of each step, in the order in which they first ran."""
        counts: dict[str, int] = {}
        for visit in self.trace:
            counts[visit.step] = counts.get(visit.step, 0) + 1
        return counts

    def same_as(self, other: "Interpretation") -> bool:
        """Whether `other`, the run of a module that a pass made of this one, means the same."""
        return self.result == other.result and other.races <= self.races
