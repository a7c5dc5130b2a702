"""What a step does besides making its results: the one place that says which steps may be merged, moved or dropped.

A step is what its op's traits say (xDSL's `Pure`), with three cases that only attributes tell:

- A model's reply is a random draw unless the step says `temperature = 0.0`: two equal calls need not answer the same.
- A tool changes the world unless it says `effect`: "none" (a function of its query), "reads" (it may see what earlier
  tools wrote), "idempotent" (a change that is the same done twice), "writes" (the default). A corpus does not change
  while an agent runs, so retrieval from one is "none".
- A call or a map does what its function does.
"""

from enum import IntEnum

from xdsl.dialects.builtin import FloatAttr, ModuleOp, StringAttr
from xdsl.ir import Operation
from xdsl.traits import IsTerminator, MemoryEffectKind, get_effects

from weft.compiler.dialects.agent import InputOp
from weft.compiler.dialects.llm import CallOp, DecodeOp
from weft.compiler.dialects.tool import InvokeOp, LookupOp
from weft.compiler.functions import callee_name, callee_of, functions_of
from weft.core.errors import IRError


class Effect(IntEnum):
    """In order of how much it forbids."""

    NONE = 0
    """A function of its inputs: may be merged with an equal step, moved, dropped when unused."""

    DRAWS = 1
    """Another sample each time: may be moved and dropped, never merged."""

    READS = 2
    """May be dropped; merged and moved only where nothing is written in between."""

    WRITES = 3
    """Runs as often and in the order that the program says."""


_DECLARED = {"none": Effect.NONE, "reads": Effect.READS, "idempotent": Effect.WRITES, "writes": Effect.WRITES}


class Effects:
    """Answers for the ops of one module; what functions do is worked out once."""

    def __init__(self, module: ModuleOp) -> None:
        self._functions = functions_of(module)
        self._known: dict[str, Effect] = {}

    def of(self, op: Operation) -> Effect:
        callee = callee_name(op)
        return own_effect(op) if callee is None else self._of_function(callee, op)

    def _of_function(self, name: str, call: Operation) -> Effect:
        if name not in self._known:
            self._known[name] = Effect.WRITES  # what calls itself may do anything
            function = callee_of(call, self._functions)
            assert function is not None
            ops = (op for op in function.body.walk() if not op.has_trait(IsTerminator))
            self._known[name] = max((self.of(op) for op in ops), default=Effect.NONE)
        return self._known[name]


def own_effect(op: Operation) -> Effect:
    """Of an op that calls no function."""
    declared = op.attributes.get("effect")
    if isinstance(declared, StringAttr):
        return _declared(op, declared.data)
    if isinstance(op, InputOp) or (isinstance(op, InvokeOp) and op.lookup_share is not None and only_fetches(op)):
        return Effect.READS
    if isinstance(op, CallOp | DecodeOp):
        return Effect.NONE if is_greedy(op) else Effect.DRAWS
    if "corpus" in op.attributes:
        return Effect.NONE
    traits = get_effects(op)
    if traits is None or any(each.kind is not MemoryEffectKind.READ for each in traits):
        return Effect.WRITES
    return Effect.READS if traits else Effect.NONE


def is_greedy(op: Operation) -> bool:
    """Whether a model step always gives the likeliest token."""
    temperature = op.attributes.get("temperature")
    return isinstance(temperature, FloatAttr) and temperature.value.data == 0.0


def only_fetches(op: Operation) -> bool:
    return isinstance(op, LookupOp) or (isinstance(op, InvokeOp) and op.share_of_lookup == 1)


def is_idempotent(op: Operation) -> bool:
    declared = op.attributes.get("effect")
    return isinstance(declared, StringAttr) and declared.data == "idempotent"


def _declared(op: Operation, word: str) -> Effect:
    name = op.attributes.get("step")
    if word not in _DECLARED:
        raise IRError(
            subject=f"step {name.data!r}" if isinstance(name, StringAttr) else op.name,
            problem=f"declares the effect {word!r}",
            way_out=f"write one of {', '.join(_DECLARED)}",
        )
    if only_fetches(op) and _DECLARED[word] is Effect.WRITES:
        raise IRError(
            subject=f"step {name.data!r}" if isinstance(name, StringAttr) else op.name,
            problem=f"only fetches, and declares the effect {word!r}",
            way_out='declare "reads" or "none", or give lookup_share below 1',
        )
    return _DECLARED[word]
