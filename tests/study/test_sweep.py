"""The sweep against brute force, and its refusals. Hand-made devices, so that the catalogue may change."""

import math

import pytest

from tests.cost.builders import A100, H100, LLAMA_8B, LLAMA_70B, ROCE, device
from weft.core.deployment import Parallelism
from weft.core.hardware import Device
from weft.core.units import Precision
from weft.core.workload import Slo
from weft.cost.memory import activation_bytes, kv_bytes, usable_bytes, weight_bytes
from weft.cost.transfer import transfer_s
from weft.study.physics import Timing
from weft.study.space import Question
from weft.study.sweep import Answer, Choice, Phase, Refusal, answers, curves, replica_sizes, step_estimate

INTERACTIVE, OFFLINE = Slo("interactive", 0.25, 0.02), Slo("offline")
QUESTION = Question(LLAMA_8B, Precision.FP16, 512, 4096)
LARGE = Question(LLAMA_70B, Precision.FP8, 4096, 512)


def answer(question: Question, where: Device, slo: Slo, phase: Phase) -> Answer:
    return answers(question, where, (slo,), ROCE)[slo.name, phase]


def timed(question: Question, where: Device, size: Parallelism, phase: Phase, batch: int) -> Timing:
    return step_estimate(question, where, phase, size, batch, ROCE)


def fits(question: Question, where: Device, size: Parallelism, phase: Phase, batch: int) -> bool:
    tokens, rows = (question.isl, question.isl) if phase is Phase.PREFILL else (question.isl + question.osl, 1)
    needed = (
        weight_bytes(question.model, question.precision, size)
        + kv_bytes(question.model, question.precision, size, batch * size.pp * tokens)
        + activation_bytes(question.model, question.precision, size, batch * rows)
    )
    return needed <= usable_bytes(where)


@pytest.mark.parametrize("slo", [INTERACTIVE, OFFLINE], ids=lambda slo: slo.name)
@pytest.mark.parametrize("phase", list(Phase))
@pytest.mark.parametrize(("question", "where"), [(QUESTION, A100), (LARGE, H100)], ids=["8b-a100", "70b-h100"])
def test_the_choice_is_what_trying_every_batch_finds(question: Question, where: Device, phase: Phase, slo: Slo):
    """Batches 1 to 200 one by one; the sweep's are two per cent apart and it takes the smallest near the best."""
    found = answer(question, where, slo, phase)
    assert isinstance(found, Choice)
    limit_s = (slo.ttft_s if phase is Phase.PREFILL else slo.tpot_s) or math.inf
    steps = 1 if phase is Phase.PREFILL else question.osl - 1
    best = math.inf
    for size in replica_sizes(question, where):
        for batch in range(1, 65 if phase is Phase.PREFILL else 200):
            if fits(question, where, size, phase, batch):
                timing = timed(question, where, size, phase, batch)
                if float(timing.latency_s) <= limit_s:
                    gain = timing.offline_gain if slo is OFFLINE else 1.0
                    best = min(best, size.devices * steps * float(timing.seconds) / gain / (batch * size.pp))
    assert found.device_s_per_request <= best * 1.03
    assert found.latency_s <= limit_s
    assert fits(question, where, found.parallelism, phase, found.batch)


def test_the_choice_costs_what_its_step_costs():
    found = answer(LARGE, H100, INTERACTIVE, Phase.PREFILL)
    assert isinstance(found, Choice)
    size = found.parallelism
    timing = timed(LARGE, H100, size, Phase.PREFILL, found.batch)
    assert found.latency_s == pytest.approx(float(timing.latency_s))
    assert found.device_s_per_request == pytest.approx(float(timing.seconds) * size.devices / (found.batch * size.pp))


def test_sends_are_all_that_stages_add():
    """A curve puts them together from one stage; the cost model knows the whole pipeline."""
    for phase in Phase:
        for curve in curves(LARGE, H100, phase, ROCE):
            whole = step_estimate(LARGE, H100, phase, curve.parallelism, curve.batches, ROCE).latency_s
            handoff_s = 0.0 if phase is Phase.PREFILL else transfer_s(LARGE.kv_bytes, ROCE) / (LARGE.osl - 1)
            assert curve.latency_s == pytest.approx(whole + handoff_s, rel=0.02)


def test_an_objective_never_makes_it_cheaper():
    for phase in Phase:
        bound, free = (answer(LARGE, H100, slo, phase) for slo in (INTERACTIVE, OFFLINE))
        assert isinstance(bound, Choice)
        assert isinstance(free, Choice)
        gain = timed(LARGE, H100, free.parallelism, phase, 1).offline_gain
        assert bound.device_s_per_request >= free.device_s_per_request * gain / 1.006


def test_what_cannot_be_says_why():
    no_fp8 = answer(LARGE, A100, OFFLINE, Phase.DECODE)
    assert isinstance(no_fp8, Refusal)
    assert "does not run fp8" in no_fp8.reason
    tiny = answer(LARGE, device(memory_gb=2), OFFLINE, Phase.DECODE)
    assert isinstance(tiny, Refusal)
    assert "holds 71 GB of weights" in tiny.reason
    slow = answer(LARGE, H100, Slo("hasty", ttft_s=0.001), Phase.PREFILL)
    assert isinstance(slow, Refusal)
    assert "TTFT 0.001 s asked, its best is" in slow.reason


def test_a_thin_link_limits_the_rate():
    """What a device prefills in a second must leave over its link."""
    thin = answers(QUESTION, H100, (OFFLINE,), ROCE.__class__("thin", "", 1e8, 0.0, 0.0, ROCE.source))
    found = thin["offline", Phase.PREFILL]
    assert isinstance(found, Choice)
    assert found.link_bound
    assert found.device_s_per_request == pytest.approx(QUESTION.kv_bytes / 1e8)
