"""Whether a run kept the objective: each of its model calls its TTFT and TPOT, and the whole its time."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import inf

from weft.core.deployment import Deployment
from weft.core.metrics import RequestRecord
from weft.core.program import StepKind
from weft.core.workload import Slo


@dataclass(frozen=True, slots=True)
class Call:
    """One model call of a run, as it was. `tpot_s`: mean gap after the first token; 0 where there is none."""

    isl: int
    osl: int
    ttft_s: float
    tpot_s: float


def kinds_of(plan: Deployment) -> Mapping[str, StepKind]:
    return {step.name: step.kind for step in plan.program.steps}


def calls_of(record: RequestRecord, kinds: Mapping[str, StepKind]) -> tuple[Call, ...]:
    """Model calls of a run, live or simulated, in their order."""
    ends = {(step.step, step.visit): step for step in record.steps if kinds.get(step.step) is StepKind.DECODE}
    calls: list[Call] = []
    for step in record.steps:
        if kinds.get(step.step) is not StepKind.PREFILL:
            continue
        end = ends.get((step.step.removesuffix(".prefill") + ".decode", step.visit))
        first_s = step.ended_s if step.first_output_s is None else step.first_output_s
        gaps = 0 if end is None else end.output_tokens
        tpot_s = (end.ended_s - first_s) / gaps if end is not None and gaps else 0.0
        calls.append(Call(step.input_tokens, 1 + gaps, first_s - step.started_s, tpot_s))
    return tuple(calls)


def calls_in_time(calls: Iterable[Call], slo: Slo) -> bool:
    ttft_s, tpot_s = (inf if limit is None else limit for limit in (slo.ttft_s, slo.tpot_s))
    return all(each.ttft_s <= ttft_s and each.tpot_s <= tpot_s for each in calls)


def in_time(record: RequestRecord, kinds: Mapping[str, StepKind], slo: Slo) -> bool:
    soon = slo.e2e_s is None or record.ended_s <= slo.e2e_s
    if slo.ttft_s is None and slo.tpot_s is None:
        return soon
    return soon and calls_in_time(calls_of(record, kinds), slo)
