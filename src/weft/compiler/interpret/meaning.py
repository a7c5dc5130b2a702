"""What an op makes of its inputs, as far as meaning goes: attributes that only the planner reads are left out.

An op that is not listed is a function of its name, its other attributes and its inputs, so that a new op needs a line
here only if passes take it apart or put it together.
"""

from collections.abc import Sequence

from xdsl.dialects.builtin import IntegerAttr, i64
from xdsl.ir import Operation

from weft.compiler.dialects.data import ApplyOp
from weft.compiler.dialects.kv import TransferOp
from weft.compiler.dialects.llm import CallOp, DecodeOp, PrefillOp
from weft.compiler.effects import is_greedy
from weft.compiler.interpret.values import Term, Value, after_all, applied
from weft.core.program import GATHER, ITEM, THEN

FOR_THE_PLANNER = frozenset(
    {
        *("step", "visits", "cost", "profile", "hint", "pool", "partition", "assumed", "handoff", "variation"),
        *("core_s", "isl", "osl", "models", "chunk_tokens", "width", "effect", "speculative"),
    }
)


class Meanings:
    """Of the ops of one module, which stay as they are."""

    def __init__(self) -> None:
        self._made: dict[Operation, str] = {}

    def made(self, op: Operation) -> str:
        """The op's name with the attributes that mean something."""
        if op not in self._made:
            self._made[op] = _made(op)
        return self._made[op]

    def outputs(self, op: Operation, inputs: Sequence[Value]) -> tuple[Value, ...]:
        """The values of a step that calls no function and has no effect."""
        match op:
            case CallOp():
                return (self._reply(op, _cache(op, inputs)),)
            case PrefillOp():
                return (_cache(op, inputs),)
            case DecodeOp():
                return (self._reply(op, inputs[0]),)
            case TransferOp():
                return (inputs[0],)
            case ApplyOp():
                return (self._applied(op, inputs),)
            case _:
                return tuple(applied(f"{self.made(op)} #{at}", inputs) for at in range(len(op.results)))

    def _reply(self, op: CallOp | DecodeOp, cache: Value) -> Value:
        return applied(self.made(op).replace(op.name, "reply"), [cache], drawn=not is_greedy(op))

    def _applied(self, op: ApplyOp, inputs: Sequence[Value]) -> Value:
        """Function by function, where several were fused."""
        first, *then = op.function.data.split(THEN)
        value = function(first, inputs, self.made(op))
        for each in then:
            value = function(each, [value])
        return value


def _made(op: Operation) -> str:
    beside = {"function"} if isinstance(op, ApplyOp) else set[str]()
    told = sorted(
        f"{key}={value}"
        for key, value in op.attributes.items()
        if key not in FOR_THE_PLANNER | beside and not key.startswith(("agent.", "fleet."))
    )
    return " ".join((op.name, *told))


def _cache(op: CallOp | PrefillOp, inputs: Sequence[Value]) -> Value:
    return applied(f"cache of {op.model.data}", inputs[:1])


def function(name: str, inputs: Sequence[Value], made_by: str = ApplyOp.name) -> Value:
    """A data step's own term: its function, and what else it is told."""
    if name == GATHER:
        return _gathered(inputs)
    if name == ITEM and len(inputs) == 2:
        return Value(item(inputs[0], len(inputs[1].term.inputs)).term, after_all(inputs))
    return applied(f"{name} {made_by}", inputs)


def item(items: Value, number: int) -> Value:
    return applied(f"{ITEM} {ApplyOp.name} index={IntegerAttr(number, i64)}", [items])


def _gathered(results: Sequence[Value]) -> Value:
    """A list; results that come after a list belong to it."""
    terms = tuple(each.term for each in results)
    if terms and terms[0].made == GATHER:
        terms = (*terms[0].inputs, *terms[1:])
    return Value(Term(GATHER, terms), after_all(results))
