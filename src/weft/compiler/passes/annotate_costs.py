"""annotate-costs: every step learns its `cost`, the resources that one visit uses (θ of the paper), for any hardware.

Model steps: `flops` and `memory_bytes` of a batch of one at 16 bits on one device, and `kv_bytes` of the prompt. Other
steps: `core_s` on a server core. The planner prices devices, precisions and batches itself; this is for readers.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from xdsl.context import Context
from xdsl.dialects.builtin import ModuleOp
from xdsl.passes import ModulePass

from weft import catalog
from weft.compiler.attributes import to_dictionary
from weft.compiler.dialects.llm import DecodeOp, PrefillOp
from weft.compiler.dialects.sized import SizedOp
from weft.compiler.dialects.step import CpuOp, StepOp
from weft.core.deployment import Parallelism
from weft.core.units import Precision
from weft.cost.ops import decode_ops, prefill_ops


@dataclass(frozen=True)
class AnnotateCosts(ModulePass):
    name = "annotate-costs"

    def apply(self, ctx: Context, op: ModuleOp) -> None:
        for step in op.walk():
            if isinstance(step, StepOp):
                step.cost = to_dictionary(_resources(step))


def _resources(step: StepOp) -> Mapping[str, int | float]:
    match step:
        case PrefillOp() | DecodeOp():
            return _model_resources(step)
        case CpuOp():
            return {"core_s": step.core_s.value.data}
        case _:
            return {}


def _model_resources(step: SizedOp) -> Mapping[str, int]:
    model = catalog.model(step.model.data)
    isl, osl = step.isl.value.data, step.osl.value.data
    if isinstance(step, PrefillOp):
        operators, times = prefill_ops(model, Precision.FP16, isl, 1, Parallelism()), 1
    else:
        operators, times = decode_ops(model, Precision.FP16, isl + osl // 2, 1, Parallelism()), osl
    return {
        "flops": round(times * sum(each.count * float(each.flops) for each in operators)),
        "memory_bytes": round(times * sum(each.count * float(each.bytes_moved) for each in operators)),
        "kv_bytes": round(model.kv_bytes_per_token(Precision.FP16) * isl),
    }
