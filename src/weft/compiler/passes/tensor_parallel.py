"""tensor-parallel: a prefill or decode (or a stage of one) on a pool with tp > 1 becomes one shard for each device, and
the exchange that makes one result of theirs.

Of `think.prefill` come `think.prefill.shard[0]`, … and `think.prefill.reduce`; with data-parallel attention (dp > 1)
also `think.prefill.gather`. Every shard holds its part of the heads, of the FFNs and of the KV cache, and the layers
are exchanged one by one: the one op stands for all of them. For steps that are placed, after insert-transfers.

Preserves: the result, and θ: the costs of shards and exchanges add up to that of the whole.
"""

from dataclasses import dataclass

from xdsl.context import Context
from xdsl.dialects.builtin import ModuleOp
from xdsl.passes import ModulePass
from xdsl.pattern_rewriter import PatternRewriter, PatternRewriteWalker, RewritePattern, op_type_rewrite_pattern

from weft.compiler.dialects.collectives import AllGatherOp, AllReduceOp, CollectiveOp
from weft.compiler.dialects.llm import DecodeOp, PrefillOp
from weft.compiler.dialects.sized import SizedOp
from weft.compiler.dialects.step import StepOp
from weft.compiler.dialects.types import HiddenType
from weft.compiler.parts import check_moved, exchange, finish, says
from weft.compiler.resources import Resources


@dataclass(frozen=True)
class TensorParallel(ModulePass):
    name = "tensor-parallel"

    def apply(self, ctx: Context, op: ModuleOp) -> None:
        PatternRewriteWalker(_Shards(Resources.of(op)), apply_recursively=False).rewrite_module(op)


@dataclass
class _Shards(RewritePattern):
    resources: Resources

    @op_type_rewrite_pattern
    def match_and_rewrite(self, op: PrefillOp | DecodeOp, rewriter: PatternRewriter) -> None:
        split = self.resources.parallelism(op)
        count = split.tp * split.dp
        if op.pool is None or op.shards is not None or count == 1:
            return
        check_moved(op)
        parts: list[StepOp] = [_shard(op, number, count) for number in range(count)]
        values = [part.results[0] for part in parts]
        exchanges: list[tuple[type[CollectiveOp], str]] = [(AllReduceOp, "reduce")] if split.tp > 1 else []
        exchanges += [(AllGatherOp, "gather")] if split.dp > 1 else []
        for kind, part in exchanges:
            parts.append(exchange(kind, op, part, values, self.resources.visit(op), count))
            values = [parts[-1].results[0]]
        finish(parts, op, self.resources)
        rewriter.replace(op, parts, values)


def _shard(op: SizedOp, number: int, count: int) -> StepOp:
    attributes = says(op, f"shard[{number}]", shard=number, shards=count)
    if op.chunk_tokens is not None and not isinstance(op.results[0].type, HiddenType):
        attributes["chunk_tokens"] = op.chunk_tokens
    return type(op).build(operands=list(op.operands), attributes=attributes, result_types=[op.results[0].type])
