"""decompose-moe: a prefill or decode of a mixture of experts becomes gate, experts, merge and, on several devices, an
all-reduce (Figure 7 of the paper); with data-parallel attention the experts gather the rows of all devices first.

Of `think.prefill` come `think.prefill.gate`, `.gather`, `.experts`, `.merge`, `.reduce`. Each op stands for all layers.
The parallelism is that of the step's pool (stages of a pipeline one by one); `tp`, `dp`, `ep` are for steps without.
Models without experts and calls that may still run one of several models stay as they are. A decomposed phase is for
reading, for costs and for code; engines run phases whole, so place goes before it.

Preserves: the result, and θ: the costs of the parts add up to that of the phase.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from xdsl.context import Context
from xdsl.dialects.builtin import ModuleOp, StringAttr
from xdsl.ir import Attribute, SSAValue
from xdsl.passes import ModulePass
from xdsl.pattern_rewriter import PatternRewriter, PatternRewriteWalker, RewritePattern, op_type_rewrite_pattern

from weft.compiler.dialects.collectives import AllGatherOp, AllReduceOp, CollectiveOp
from weft.compiler.dialects.experts import ExpertDecodeOp, ExpertPrefillOp, GateSelectOp, MergeExpertsOp
from weft.compiler.dialects.llm import DecodeOp, PrefillOp
from weft.compiler.dialects.step import StepOp
from weft.compiler.dialects.types import HiddenType
from weft.compiler.parts import check_moved, exchange, finish, says
from weft.compiler.resources import Resources
from weft.core.deployment import Parallelism
from weft.core.errors import IRError
from weft.cost.theta import Visit


@dataclass(frozen=True)
class DecomposeMoe(ModulePass):
    name = "decompose-moe"

    tp: int = 1
    dp: int = 1
    ep: int = 1

    def apply(self, ctx: Context, op: ModuleOp) -> None:
        if min(self.tp, self.dp, self.ep) < 1:
            problem = f"has tp={self.tp} dp={self.dp} ep={self.ep}"
            raise IRError(subject=self.name, problem=problem, way_out="give numbers of at least 1")
        unplaced = Parallelism(tp=self.tp, dp=self.dp, ep=self.ep)
        PatternRewriteWalker(_Decompose(Resources.of(op), unplaced), apply_recursively=False).rewrite_module(op)


@dataclass
class _Decompose(RewritePattern):
    resources: Resources
    unplaced: Parallelism

    @op_type_rewrite_pattern
    def match_and_rewrite(self, op: PrefillOp | DecodeOp, rewriter: PatternRewriter) -> None:
        visit = self.resources.visit(op)
        whole = op.shards is None and not visit.cached
        if op.models is not None or not whole or visit.model.experts is None:
            return
        check_moved(op)
        if visit.parallelism.pp > 1 and op.layers is None:
            problem = f"is a pipeline of {visit.parallelism.pp} stages"
            raise IRError(subject=f"step {op.step_name!r}", problem=problem, way_out="run pipeline-parallel before")
        if op.pool is None:
            visit = replace(visit, parallelism=self.unplaced)
        parts = _Phase(op, visit).parts()
        finish(parts, op, self.resources)
        rewriter.replace(op, parts, [parts[-1].results[0]])


@dataclass
class _Phase:
    """One phase taken apart, each part on the value of the one before."""

    op: PrefillOp | DecodeOp
    visit: Visit

    def parts(self) -> Sequence[StepOp]:
        split, hidden = self.visit.parallelism, HiddenType(self.op.model)
        phase = {"phase": StringAttr("decode" if self.visit.decodes else "prefill")}
        experts = ExpertDecodeOp if self.visit.decodes else ExpertPrefillOp
        given, gives = self.op.operands[0], self.op.results[0].type
        gate = GateSelectOp.build(operands=[given], attributes=self._says("gate") | phase, result_types=[hidden])
        rows = self._exchange(AllGatherOp, "gather", gate.routed, split.tp * split.dp if split.dp > 1 else 1)
        worked = experts.build(
            operands=[(rows or gate).results[0]], attributes=self._says("experts"), result_types=[hidden]
        )
        merged = MergeExpertsOp.build(
            operands=[[worked.worked]], attributes=self._says("merge") | phase | self._chunks(), result_types=[gives]
        )
        reduced = self._exchange(AllReduceOp, "reduce", merged.merged, split.tp)
        return [part for part in (gate, rows, worked, merged, reduced) if part is not None]

    def _exchange(self, kind: type[CollectiveOp], part: str, value: SSAValue, shards: int) -> CollectiveOp | None:
        """None where one device has it all."""
        return exchange(kind, self.op, part, [value], self.visit, shards) if shards > 1 else None

    def _says(self, part: str) -> dict[str, Attribute]:
        split = self.visit.parallelism
        numbers = {"tp": split.tp, "dp": split.dp, "ep": split.ep}
        return says(self.op, part, **{name: number for name, number in numbers.items() if number > 1})

    def _chunks(self) -> dict[str, Attribute]:
        return {"chunk_tokens": self.op.chunk_tokens} if self.op.chunk_tokens else {}
