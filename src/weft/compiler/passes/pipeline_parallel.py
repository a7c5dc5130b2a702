"""pipeline-parallel: a prefill or decode on a pool with pp > 1 becomes its stages, each with a range of the layers, and
the messages between them.

Of `think.prefill` come `think.prefill.stage[0]`, … and `think.prefill.stage[0].send`, `think.prefill.stage[1].recv`.
Layers are dealt out as evenly as they come; each stage keeps the KV cache of its own. For steps that are placed, after
insert-transfers.

Preserves: the result, and θ: the costs of stages and messages add up to that of the whole.
"""

from dataclasses import dataclass
from itertools import pairwise

from xdsl.context import Context
from xdsl.dialects.builtin import ModuleOp
from xdsl.ir import SSAValue
from xdsl.passes import ModulePass
from xdsl.pattern_rewriter import PatternRewriter, PatternRewriteWalker, RewritePattern, op_type_rewrite_pattern

from weft.compiler.dialects.fleet import RecvOp, SendOp
from weft.compiler.dialects.llm import DecodeOp, PrefillOp
from weft.compiler.dialects.sized import SizedOp
from weft.compiler.dialects.step import StepOp
from weft.compiler.dialects.types import HiddenType, MessageType
from weft.compiler.parts import check_moved, finish, message_says, says
from weft.compiler.resources import Resources
from weft.core.errors import IRError
from weft.cost.theta import Part, Visit, theta


@dataclass(frozen=True)
class PipelineParallel(ModulePass):
    name = "pipeline-parallel"

    def apply(self, ctx: Context, op: ModuleOp) -> None:
        PatternRewriteWalker(_Stages(Resources.of(op)), apply_recursively=False).rewrite_module(op)


@dataclass
class _Stages(RewritePattern):
    resources: Resources

    @op_type_rewrite_pattern
    def match_and_rewrite(self, op: PrefillOp | DecodeOp, rewriter: PatternRewriter) -> None:
        if op.pool is None or op.layers is not None or self.resources.parallelism(op).pp == 1:
            return
        check_moved(op)
        if len(op.operands) > 1:
            problem = "extends a prefix, whose cache stands on one stage"
            raise IRError(subject=f"step {op.step_name!r}", problem=problem, way_out="leave share-prefixes out")
        stages = self.resources.visit(op).stages()
        parts: list[StepOp] = [_stage(op, 0, stages[0], op.operands[0])]
        for number, (before, stage) in enumerate(pairwise(stages), 1):
            parts += _message(op, number, parts[-1].results[0], before)
            parts.append(_stage(op, number, stage, parts[-1].results[0]))
        finish(parts, op, self.resources)
        rewriter.replace(op, parts, [parts[-1].results[0]])


def _stage(op: SizedOp, number: int, visit: Visit, value: SSAValue) -> StepOp:
    layers = visit.layers
    assert layers is not None
    is_last = layers.stop == visit.model.layers
    attributes = says(op, f"stage[{number}]", first_layer=layers.start, layers=len(layers))
    if is_last and op.chunk_tokens is not None:
        attributes["chunk_tokens"] = op.chunk_tokens
    gives = op.results[0].type if is_last else HiddenType(op.model)
    return type(op).build(operands=[value], attributes=attributes, result_types=[gives])


def _message(op: SizedOp, stage: int, value: SSAValue, sender: Visit) -> list[StepOp]:
    """From the stage before."""
    assert op.pool is not None
    size = round(theta(sender, (Part.SEND,)).message_bytes)
    says_send = message_says(op, f"stage[{stage - 1}].send", to_stage=stage, bytes=size) | {"to": op.pool}
    send = SendOp.build(operands=[value], attributes=says_send, result_types=[MessageType(value.type)])
    says_recv = message_says(op, f"stage[{stage}].recv")
    return [send, RecvOp.build(operands=[send.message], attributes=says_recv, result_types=[value.type])]
