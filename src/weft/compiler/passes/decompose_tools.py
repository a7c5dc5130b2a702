"""decompose-tools: `tool.invoke` becomes `tool.lookup`, which fetches, `tool.compute`, which works on it, or both.

The two lean on different resources (a lookup on memory, disk and network, the other on cores), and a lookup changes
nothing, so it may be shared, repeated or begun early. The tool's `lookup_share` says how its time falls to the two; a
tool that only fetches or only computes keeps its step name, of `look_up` with both come `look_up.lookup` and
`look_up.compute`.

Preserves: the result, and the sum of `core_s`. A `variation` goes to both parts, so that of the sum is an upper bound.
"""

from dataclasses import dataclass

from xdsl.context import Context
from xdsl.dialects.builtin import FloatAttr, ModuleOp, StringAttr, f64
from xdsl.ir import Attribute
from xdsl.passes import ModulePass
from xdsl.pattern_rewriter import PatternRewriter, PatternRewriteWalker, RewritePattern, op_type_rewrite_pattern

from weft.compiler.dialects.tool import ComputeOp, InvokeOp, LookupOp
from weft.compiler.dialects.types import DocsType
from weft.compiler.parts import finish, part_named
from weft.compiler.resources import Resources


@dataclass(frozen=True)
class DecomposeTools(ModulePass):
    name = "decompose-tools"

    def apply(self, ctx: Context, op: ModuleOp) -> None:
        PatternRewriteWalker(_Decompose(Resources.of(op)), apply_recursively=False).rewrite_module(op)


@dataclass
class _Decompose(RewritePattern):
    resources: Resources

    @op_type_rewrite_pattern
    def match_and_rewrite(self, op: InvokeOp, rewriter: PatternRewriter) -> None:
        attributes = {name: value for name, value in op.attributes.items() if name != "lookup_share"}
        share = op.share_of_lookup
        if 0 < share < 1:
            self._both(op, attributes, share, rewriter)
            return
        only = LookupOp if share else ComputeOp
        rewriter.replace(op, only.build(operands=[op.query], attributes=attributes, result_types=[op.found.type]))

    def _both(self, op: InvokeOp, attributes: dict[str, Attribute], share: float, rewriter: PatternRewriter) -> None:
        core_s = op.core_s.value.data
        lookup = LookupOp.build(
            operands=[op.query],
            attributes=attributes | _own(op, "lookup", share * core_s) | _reads(op),
            result_types=[DocsType()],
        )
        compute = ComputeOp.build(
            operands=[lookup.found],
            attributes=attributes | _own(op, "compute", core_s - share * core_s),
            result_types=[op.found.type],
        )
        finish((lookup, compute), op, self.resources)
        rewriter.replace(op, [lookup, compute], [compute.found])


def _own(op: InvokeOp, part: str, core_s: float) -> dict[str, Attribute]:
    return {"step": part_named(op, part), "core_s": FloatAttr(core_s, f64)}


def _reads(op: InvokeOp) -> dict[str, Attribute]:
    """Of a tool that writes, the part that fetches does not."""
    told = "effect" in op.attributes and op.attributes["effect"] != StringAttr("none")
    return {"effect": StringAttr("reads")} if told else {}
