"""The agent as plain data: blocks of steps joined by jumps. No process but the compiler's reads IR; they read this.

Inside a block a step starts when its inputs are there, so independent steps run side by side.
A block ends in a `Terminator`: it returns values, or jumps to the target that the selector names.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

THEN = " | "
"""Between the functions of one data step that runs several, each on what the one before gave: `"trim | lower"`."""


ITEM, GATHER, NEXT = "item", "gather", "next"
"""Data steps of a map: the item `index` of a list, or of (list, gathered so far) the next one; all results as one list,
where one that was gathered before comes first; and whether (list, gathered so far) has more items."""

GIVES, LABELS, PART, LOOKUP = "gives", "labels", "part", "lookup"
"""Attributes of steps: the type of the result, where it is not text; a choice's labels, joined by THEN; and whether it
is only the part of a tool that looks up what its other part works on."""

REMOVES = "removes"
"""What a data step takes out of the value that it hands on, joined by THEN: some of PERSONAL."""
PERSONAL = ("email", "phone", "credit_card", "iban", "ssn", "ip")


class StepKind(StrEnum):
    INPUT = "input"
    TRANSCRIBE = "transcribe"
    SYNTHESIZE = "synthesize"
    PREFILL = "prefill"
    PREFIX = "prefix"
    DECODE = "decode"
    EMBED = "embed"
    KV_TRANSFER = "kv_transfer"
    SEARCH = "search"
    TOOL = "tool"
    RECALL = "recall"
    REMEMBER = "remember"
    MEMORY_SEARCH = "memory_search"
    APPLY = "apply"
    CHOOSE = "choose"
    INTERRUPT = "interrupt"


@dataclass(frozen=True, slots=True)
class Step:
    """One leaf of the agent: what a node runs. `attributes` are scalars (model, isl, osl, function, …)."""

    name: str
    kind: StepKind
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, str | int | float]


@dataclass(frozen=True, slots=True)
class Target:
    """A jump to a block with values for its parameters, and how likely it is taken."""

    block: str
    arguments: tuple[str, ...]
    probability: float


@dataclass(frozen=True, slots=True)
class Terminator:
    """Return `returns` when `targets` is empty; else jump to `targets[selector value]`, or to the only target.

    `at_most` bounds a loop: once the targets other than 0 have been taken that often in a run, target 0 is.
    """

    targets: tuple[Target, ...] = ()
    selector: str | None = None
    returns: tuple[str, ...] = ()
    at_most: int | None = None


@dataclass(frozen=True, slots=True)
class Block:
    name: str
    parameters: tuple[str, ...]
    steps: tuple[Step, ...]
    terminator: Terminator


@dataclass(frozen=True, slots=True)
class Program:
    """An agent. `blocks[0]` is the entry; its parameters are the run's inputs, of `input_types` (audio, text, …)."""

    name: str
    blocks: tuple[Block, ...]
    input_types: tuple[str, ...] = ()

    @property
    def entry(self) -> Block:
        return self.blocks[0]

    def block(self, name: str) -> Block:
        return next(block for block in self.blocks if block.name == name)

    @property
    def steps(self) -> tuple[Step, ...]:
        return tuple(step for block in self.blocks for step in block.steps)
