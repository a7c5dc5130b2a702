"""share-prefixes: what prompts begin with is prefilled once a run, at its very start, for all calls that begin with it.

For each model and `prefix` with at least `least_tokens` tokens one `llm.prefix` at the start of the graph, which waits
for nothing: it runs beside whatever makes the rest of the prompt. Each `llm.prefill` of such a prompt becomes
`llm.extend`, which works on the rest of its tokens only, in a loop at every turn. After split-phases, before place.

It pays where a prompt is read several times a run, or where something slow (speech, a search) comes before it. It costs
one more pass over the weights, so short prefixes do not pay. Opt-in: the local runtime extends no caches yet.

Preserves: the agent's result. Tokens that are prefilled go down where a prefix is used more than once a run.
"""

from dataclasses import dataclass

from xdsl.context import Context
from xdsl.dialects.builtin import IntegerAttr, ModuleOp, StringAttr, i64
from xdsl.ir import Attribute, Block
from xdsl.passes import ModulePass

from weft.compiler.attributes import spelled
from weft.compiler.control_flow import agent_graph
from weft.compiler.dialects.llm import ExtendOp, PrefillOp, PrefixOp
from weft.compiler.dialects.types import KvType
from weft.compiler.rewriting import erase

Key = tuple[Attribute | None, ...]

SHARED = ("model", "models", "hint", "prefix", "prefix_tokens")
"""Attributes of a prefill that are its prefix's too."""


@dataclass(frozen=True)
class SharePrefixes(ModulePass):
    name = "share-prefixes"

    least_tokens: int = 256

    def apply(self, ctx: Context, op: ModuleOp) -> None:
        graph = agent_graph(op)
        prefixes: dict[Key, PrefixOp] = {}
        names: set[str] = set()
        for step in list(graph.body.walk()):
            if type(step) is not PrefillOp or step.prefix_tokens is None:
                continue
            if step.prefix_tokens.value.data < self.least_tokens:
                continue
            key = tuple(step.attributes.get(each) for each in SHARED)
            if key not in prefixes:
                prefixes[key] = _prefix_of(step, graph.body.blocks[0], names)
            _extend(step, prefixes[key])


def _prefix_of(step: PrefillOp, entry: Block, names: set[str]) -> PrefixOp:
    """Called after the text; where several models read it, or hints differ, after the step that it was made for."""
    assert step.prefix is not None and step.prefix_tokens is not None
    name = f"{step.prefix.data}.prefix"
    if name in names:
        name = f"{step.step_name}.prefix"
    names.add(name)
    shared = {each: step.attributes[each] for each in SHARED if each in step.attributes}
    one = IntegerAttr(1, i64)
    own = {"step": StringAttr(name), "isl": step.prefix_tokens, "osl": one, "max_tokens": one}
    prefix = PrefixOp.build(operands=[], attributes={**shared, **own}, result_types=[KvType(step.model)])
    prefix.kv.name_hint = spelled(name.replace(".", "_"))
    first = entry.first_op
    assert first is not None
    entry.insert_op_before(prefix, first)
    return prefix


def _extend(step: PrefillOp, prefix: PrefixOp) -> None:
    extended = ExtendOp.build(
        operands=[prefix.kv, step.messages], attributes=dict(step.attributes), result_types=[step.kv.type]
    )
    extended.kv.name_hint = step.kv.name_hint
    assert step.parent is not None
    step.parent.insert_op_before(extended, step)
    step.kv.replace_all_uses_with(extended.kv)
    erase(step)
