"""What an op makes of its inputs, as far as meaning goes: attributes that only the planner reads are left out.

An op that is not listed is a function of its name, its other attributes and its inputs, so that a new op needs a line
here only if passes take it apart or put it together.
"""

from collections.abc import Sequence

from xdsl.dialects.builtin import IntegerAttr, i64
from xdsl.ir import Operation

from weft.compiler.dialects.agent import InputOp
from weft.compiler.dialects.collectives import CollectiveOp
from weft.compiler.dialects.data import ApplyOp
from weft.compiler.dialects.experts import ExpertOp, GateSelectOp, MergeExpertsOp
from weft.compiler.dialects.fleet import RecvOp, SendOp
from weft.compiler.dialects.kv import LoadOp, StoreOp, TransferOp
from weft.compiler.dialects.llm import CallOp, DecodeOp, ExtendOp, PrefixOp, PromptOp
from weft.compiler.dialects.tool import ComputeOp, InvokeOp, LookupOp
from weft.compiler.effects import is_greedy
from weft.compiler.interpret.values import Term, Value, after_all, applied
from weft.core.program import GATHER, ITEM, THEN

FOR_THE_PLANNER = frozenset(
    {
        *("step", "visits", "cost", "profile", "hint", "pool", "partition", "assumed", "handoff", "variation"),
        *("core_s", "isl", "osl", "models", "chunk_tokens", "width", "effect", "speculative", "lookup_share"),
        *("layers", "first_layer", "shard", "shards", "tp", "dp", "ep", "phase", "experts", "first_expert"),
        *("prefix", "prefix_tokens"),
    }
)


REPLY = "reply"
MOVES = (
    *(TransferOp, StoreOp, LoadOp, SendOp, RecvOp, CollectiveOp),
    *(InputOp, GateSelectOp, ExpertOp),
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

    def outputs(self, op: Operation, known: str, inputs: Sequence[Value]) -> tuple[Value, ...]:
        """The values of a step that calls no function and has no effect; `known` is what it means."""
        match op:
            case CallOp():
                return (self._reply(op, _cache(op, inputs[0])),)
            case PrefixOp():
                return (applied(_prefix(op), ()),)
            case ExtendOp() if inputs[0].term.made != _prefix(op):
                return (applied("cache of a prompt that began otherwise", inputs),)
            case PromptOp():
                return (_cache(op, inputs[-1]),)
            case DecodeOp():
                return (self._reply(op, inputs[0]),)
            case MergeExpertsOp():
                return (self._reply(op, inputs[0]) if op.decodes else _cache(op, inputs[0]),)
            case ApplyOp():
                return (self._applied(op, inputs),)
            case _ if is_move(op):
                return (inputs[0],)
            case _:
                return tuple(applied(f"{known} #{at}", inputs) for at in range(len(op.results)))

    def _reply(self, op: CallOp | DecodeOp | MergeExpertsOp, cache: Value) -> Value:
        """The last stage of a pipeline gives what the first has drawn."""
        if cache.term.made.startswith(REPLY):
            return cache
        return applied(self.made(op).replace(op.name, REPLY), [cache], drawn=not is_greedy(op))

    def _applied(self, op: ApplyOp, inputs: Sequence[Value]) -> Value:
        """Function by function, where several were fused."""
        first, *then = op.function.data.split(THEN)
        value = function(first, inputs, self.made(op))
        for each in then:
            value = function(each, [value])
        return value


def _made(op: Operation) -> str:
    beside = {"function"} if isinstance(op, ApplyOp) else set[str]()
    name = op.name
    if isinstance(op, InvokeOp):
        name = LookupOp.name if op.share_of_lookup == 1 else ComputeOp.name
    told = sorted(
        f"{key}={value}"
        for key, value in op.attributes.items()
        if key not in FOR_THE_PLANNER | beside and not key.startswith(("agent.", "fleet."))
    )
    return " ".join((name, *told))


def _cache(op: CallOp | PromptOp | MergeExpertsOp, prompt: Value) -> Value:
    """Whichever stage of a pipeline makes it."""
    made_by = f"cache of {op.model.data}"
    return prompt if prompt.term.made == made_by else applied(made_by, [prompt])


def _prefix(op: PrefixOp | ExtendOp) -> str:
    return f"prefix {op.prefix} of {op.model.data}"


def is_move(op: Operation) -> bool:
    """Ops that give their first input on: to another device or tier, or half done to the next part of a phase."""
    return isinstance(op, MOVES)


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
