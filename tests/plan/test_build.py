"""From models and fleets to options: what is offered, what is refused and with which words."""

import math
from dataclasses import replace

import pytest

from tests.cost.builders import A100, H100, LLAMA_8B, LLAMA_70B, PAPER, ROCE, SOURCE, cpu
from weft.core.deployment import Parallelism
from weft.core.errors import PlanError
from weft.core.hardware import DeviceGroup, Fleet, Link
from weft.core.model import ModelSpec
from weft.core.units import Precision
from weft.core.workload import Slo
from weft.cost.steps import Engine, decode_step, prefill
from weft.plan.build import Planned, build
from weft.plan.homogeneous import homogeneous
from weft.plan.options import Candidate, Reason
from weft.plan.problem import Block
from weft.plan.requests import Flow, LeafTask, PlanRequest, Serving, TaskKind
from weft.plan.solve import solve

FLEET = Fleet(
    "test", (DeviceGroup(H100, 8, "a"), DeviceGroup(A100, 8, "a"), DeviceGroup(cpu(), 2, "a")), {"a": ROCE}, {}
)
INTERACTIVE = Slo("interactive", ttft_s=0.25, tpot_s=0.02)


def voice(model: ModelSpec = LLAMA_8B, **changed: object) -> PlanRequest:
    """Transcribe, then think (with one more round through search in half of the runs), then speak."""
    request = PlanRequest(
        tasks=(
            LeafTask("transcribe", TaskKind.CPU, 1.0, core_s=0.3),
            LeafTask("reason.prefill", TaskKind.PREFILL, 1.5, model, isl=1000),
            LeafTask("reason.decode", TaskKind.DECODE, 1.5, model, isl=1000, osl=200),
            LeafTask("search", TaskKind.CPU, 0.5, core_s=0.05),
            LeafTask("speak", TaskKind.CPU, 1.0, core_s=0.1),
        ),
        flows=(
            Flow("transcribe", "reason.prefill", 1.0, None, bytes_per_visit=2e3),
            Flow("reason.prefill", "reason.decode", 1.5, "think", carries_kv=True),
            Flow("reason.decode", "search", 0.5, None, bytes_per_visit=500),
            Flow("search", "reason.prefill", 0.5, None, bytes_per_visit=5e3),
            Flow("reason.decode", "speak", 1.0, None, bytes_per_visit=2e3),
        ),
        blocks=(
            Block("entry", 1.0, ("transcribe",)),
            Block("think", 1.5, ("reason.prefill", "reason.decode")),
            Block("search", 0.5, ("search",)),
            Block("answer", 1.0, ("speak",)),
        ),
        fleet=FLEET,
        finance=PAPER,
        slo=INTERACTIVE,
        rate_per_s=5.0,
    )
    return replace(request, **changed)  # pyright: ignore[reportArgumentType]


def chosen(planned: Planned) -> dict[str, Candidate]:
    answer = solve(planned.problem)
    return {task: planned.candidates[task][name] for task, name in answer.choice.items()}


def test_a_plan_meets_every_step_objective():
    candidates = chosen(build(voice()))
    assert candidates["reason.prefill"].step_s <= 0.25
    assert candidates["reason.decode"].step_s <= 0.02
    assert candidates["transcribe"].group.device.id == "epyc"
    assert all(candidate.memory_bytes <= candidate.group.device.memory_bytes for candidate in candidates.values())


def test_the_end_to_end_time_is_what_the_steps_take():
    planned = build(voice())
    answer, found = solve(planned.problem), chosen(planned)
    link_s = ROCE.latency_s
    think_s = sum(found[name].option.latency_s for name in ("reason.prefill", "reason.decode"))
    precision = found["reason.prefill"].precision
    assert precision is not None
    kv_s = link_s + LLAMA_8B.kv_bytes_per_token(precision) * 1000 / ROCE.bytes_per_s
    texts_s = 3.0 * link_s + (2e3 + 0.5 * 500 + 0.5 * 5e3 + 2e3) / ROCE.bytes_per_s
    assert answer.e2e_s == pytest.approx(0.3 + 1.5 * (think_s + kv_s) + 0.5 * 0.05 + 0.1 + texts_s)


def test_options_are_what_the_cost_model_says():
    planned = build(voice())
    first = planned.candidates["reason.prefill"]["llama-3-8b.prefill.h100.a.tp1.fp16.b1"]
    engine = Engine(LLAMA_8B, H100, Parallelism(), Precision.FP16)
    assert first.option.latency_s == pytest.approx(float(prefill(engine, 1000).seconds))
    decode = planned.candidates["reason.decode"]["llama-3-8b.decode.h100.a.tp2.fp16.b32"]
    engine = Engine(LLAMA_8B, H100, Parallelism(tp=2), Precision.FP16)
    tpot_s = float(decode_step(engine, 1100, 32).seconds)
    assert decode.option.latency_s == pytest.approx(200 * tpot_s)
    assert decode.option.busy_s == pytest.approx(200 * tpot_s / 32)
    assert decode.option.pool.devices_per_replica == 2
    assert decode.option.pool.family == "h100"


def test_cpu_work_shares_its_sockets():
    planned = build(voice(rate_per_s=80.0))
    answer = solve(planned.problem)
    pools = {planned.candidates[task][answer.choice[task]].option.pool for task in ("transcribe", "search", "speak")}
    assert len(pools) == 1
    assert answer.replicas[pools.pop().name] == math.ceil(80 * (0.3 + 0.5 * 0.05 + 0.1) / 64 / 0.8)


def test_equal_engines_serve_two_calls():
    more = voice()
    second = (
        LeafTask("check.prefill", TaskKind.PREFILL, 1.0, LLAMA_8B, isl=500),
        LeafTask("check.decode", TaskKind.DECODE, 1.0, LLAMA_8B, isl=500, osl=10),
    )
    blocks = (*more.blocks, Block("check", 1.0, ("check.prefill", "check.decode")))
    flows = (*more.flows, Flow("check.prefill", "check.decode", 1.0, "check", carries_kv=True))
    planned = build(replace(more, tasks=(*more.tasks, *second), blocks=blocks, flows=flows, rate_per_s=1.0))
    replicas = solve(planned.problem).replicas
    assert len([pool for pool in replicas if ".decode." in pool]) == 1


def test_the_cache_keeps_its_format():
    """FP8 on the H100 alone: the pair FP8 → FP16 cannot be joined."""
    both = (Precision.FP16, Precision.FP8)
    request = voice()
    planned = build(replace(request, tasks=tuple(replace(task, precisions=both) for task in request.tasks)))
    kv = next(handoff for handoff in planned.problem.handoffs if handoff.target == "reason.decode")
    low, high = "a.fp8.llama-3-8b", "a.fp16.llama-3-8b"
    assert math.isinf(kv.latency_s[low, high])
    assert kv.latency_s[low, low] < kv.latency_s[high, high] < math.inf
    refused = planned.rejections["reason.prefill"]
    wrong_format = [rejection.message for rejection in refused if rejection.reason is Reason.FORMAT]
    assert "a100@a does not run fp8 (it runs fp16)" in wrong_format
    assert "epyc@a does not run fp16 (it runs no matrix format)" in wrong_format


def test_a_prompt_that_takes_too_long():
    slow = voice(LLAMA_70B, slo=Slo("strict", ttft_s=0.010))
    with pytest.raises(PlanError) as refused:
        build(slow)
    assert str(refused.value).startswith("reason.prefill: TTFT 0.010 s asked, best is 0.0")
    assert str(refused.value).endswith("on h100@a tp=8 fp16; raise ttft_s or add a faster device")


def test_a_model_that_does_not_fit():
    large = replace(LLAMA_70B, id="llama-3-405b", params_total=405.8e9, layers=126)
    with pytest.raises(PlanError, match=r"llama-3-405b fp16 needs 81\d GB, h100@a tp=8 fp16 has 576 GB to use"):
        build(voice(large))


def test_a_prompt_longer_than_the_context():
    with pytest.raises(PlanError, match=r"1000 \+ 200 tokens do not fit the 1100 of llama-3-8b"):
        build(voice(replace(LLAMA_8B, context=1100)))


def test_no_cpu_and_no_price():
    no_cpu = replace(FLEET, groups=FLEET.groups[:2])
    with pytest.raises(PlanError, match=r"transcribe: h100@a is no CPU .*; add a CPU to the fleet"):
        build(voice(fleet=no_cpu))
    unpriced = replace(H100, price_usd=None)
    fleet = replace(FLEET, groups=(DeviceGroup(unpriced, 8, "a"), FLEET.groups[2]))
    with pytest.raises(PlanError, match=r"reason\.prefill: h100: has no price_usd"):
        build(voice(fleet=fleet))


def test_zones_without_a_link_cannot_exchange():
    fleet = replace(
        FLEET,
        groups=(DeviceGroup(H100, 8, "east"), DeviceGroup(cpu(), 2, "west")),
        zone_link={"east": ROCE, "west": ROCE},
    )
    with pytest.raises(PlanError, match=r"hand-offs: .*add links between the zones"):
        solve(build(voice(fleet=fleet)).problem)
    wan = Link("wan", "WAN", 1.25e9, 0.030, 2e-11, SOURCE)
    joined = build(voice(fleet=replace(fleet, cross_links={("east", "west"): wan}))).problem
    crossings = sum(handoff.visits for handoff in joined.handoffs if handoff.block is None)
    texts = 2e3 + 0.5 * 500 + 0.5 * 5e3 + 2e3
    near = build(voice(fleet=replace(FLEET, groups=(FLEET.groups[0], FLEET.groups[2])))).problem
    assert solve(joined).usd_per_request - solve(near).usd_per_request == pytest.approx(texts * 2e-11)
    added_s = crossings * (0.030 - ROCE.latency_s) + texts * (1 / 1.25e9 - 1 / ROCE.bytes_per_s)
    assert solve(joined).e2e_s - solve(near).e2e_s == pytest.approx(added_s)


def test_a_replica_that_serves_both_phases_does_the_work_of_both():
    """When full, a batch of sequences takes osl tokens' time each: exactly its own steps and its own prompts."""
    planned = build(voice())
    for name, decode in planned.candidates["reason.decode"].items():
        if decode.option.tie:
            prompt = planned.candidates["reason.prefill"][name]
            assert prompt.option.pool == decode.option.pool
            assert decode.option.latency_s / decode.batch == pytest.approx(prompt.option.busy_s + decode.option.busy_s)
            assert prompt.step_s <= 0.25 and decode.step_s <= 0.02
            assert decode.memory_bytes <= decode.group.device.memory_bytes


def test_a_light_load_needs_one_replica():
    together = solve(build(voice(rate_per_s=0.1)).problem)
    apart = solve(build(voice(rate_per_s=0.1, serving=Serving.DISAGGREGATED)).problem)
    assert together.choice["reason.prefill"] == together.choice["reason.decode"]
    assert len(together.replicas) == len(apart.replicas) - 1
    assert together.usd_per_hour < apart.usd_per_hour
    only = solve(build(voice(rate_per_s=0.1, serving=Serving.AGGREGATED)).problem)
    assert only.choice == together.choice


def test_each_family_alone():
    entries = {entry.family: entry for entry in homogeneous(build(voice(LLAMA_70B, rate_per_s=0.5)).problem)}
    assert set(entries) == {"h100", "a100"}
    mixed = solve(build(voice(LLAMA_70B, rate_per_s=0.5)).problem)
    placed = [entry.placement for entry in entries.values() if entry.placement]
    assert placed and all(mixed.objective <= found.objective + 1e-9 for found in placed)
