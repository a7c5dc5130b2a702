"""A call that may run several models: against enumeration, and against plans with each of them alone."""

import random
from dataclasses import replace

import pytest

from tests.cost.builders import LLAMA_8B, LLAMA_70B
from tests.plan.test_build import voice
from weft.core.errors import PlanError
from weft.core.model import ModelSpec
from weft.core.workload import Slo
from weft.plan.build import Planned, build
from weft.plan.exact import enumerate_best
from weft.plan.model_choice import other_models
from weft.plan.requests import PlanRequest
from weft.plan.solve import solve

SMALL = replace(LLAMA_8B, id="small", params_total=3e9, params_active=3e9, layers=16)


def either(first: ModelSpec, *others: ModelSpec, **changed: object) -> PlanRequest:
    request = voice(first, **changed)
    tasks = tuple(replace(task, or_models=others) if task.model else task for task in request.tasks)
    return replace(request, tasks=tasks)


def taken(planned: Planned, choice: dict[str, str] | None = None) -> tuple[str, str]:
    found = choice or solve(planned.problem).choice
    models = [planned.candidates[name][found[name]].model for name in ("reason.prefill", "reason.decode")]
    assert models[0] is not None and models[1] is not None
    return models[0].id, models[1].id


def test_the_cheapest_of_good_enough_models_is_taken_whatever_their_order() -> None:
    for order in ((LLAMA_8B, SMALL), (SMALL, LLAMA_8B)):
        both = build(either(*order))
        alone = [solve(build(voice(model)).problem).usd_per_hour for model in order]
        assert solve(both.problem).usd_per_hour == pytest.approx(min(alone))


@pytest.mark.parametrize("seed", range(20))
def test_both_phases_run_one_model_as_enumeration_says(seed: int) -> None:
    """Five options of each phase, of both models; three calls' worth of choices are tried one by one."""
    draw = random.Random(seed)
    limit = (None, 3.0, 2.0)[seed % 3]
    planned = build(either(LLAMA_8B, SMALL, slo=Slo("s", tpot_s=0.05, e2e_s=limit), rate_per_s=10.0))
    tasks = tuple(
        replace(task, options=tuple(draw.sample(task.options, min(6, len(task.options)))))
        for task in planned.problem.tasks
    )
    problem = replace(planned.problem, tasks=tasks)
    expected = enumerate_best(problem)
    if expected is None:
        with pytest.raises(PlanError):
            solve(problem)
        return
    answer = solve(problem)
    assert answer.objective == pytest.approx(expected.objective, rel=1e-6)
    first, second = taken(planned, dict(answer.choice))
    assert first == second


def test_the_plan_says_what_the_other_model_would_cost() -> None:
    request = either(LLAMA_8B, SMALL, LLAMA_70B, slo=Slo("s", ttft_s=0.25, tpot_s=0.02))
    planned = build(request)
    found = solve(planned.problem)
    others = {each.model: each for each in other_models(request, planned, found)}
    assert set(others) == {LLAMA_8B.id, SMALL.id, LLAMA_70B.id} - {taken(planned)[0]}
    for name, model in (("small", SMALL), ("llama-3-8b", LLAMA_8B), ("llama-3-70b", LLAMA_70B)):
        if name in others:
            alone = solve(build(voice(model, slo=request.slo)).problem)
            assert others[name].placement is not None
            assert others[name].placement.usd_per_hour == pytest.approx(alone.usd_per_hour)
            assert alone.usd_per_hour >= found.usd_per_hour - 1e-9


def test_why_a_model_cannot_be_taken() -> None:
    short = replace(SMALL, id="short", context=500)
    huge = replace(LLAMA_70B, id="huge", params_total=4e12)
    request = either(LLAMA_8B, short, huge)
    planned = build(request)
    found = solve(planned.problem)
    reasons = {each.model: each.reason for each in other_models(request, planned, found)}
    assert reasons["short"] == "its context of 500 tokens is too short"
    assert "huge fp16 needs" in reasons["huge"]


def test_a_pool_serves_calls_that_share_a_model() -> None:
    """Two calls of which one is bound to the small model: the other joins it."""
    request = voice(LLAMA_8B, rate_per_s=0.5)
    second = tuple(
        replace(task, name=task.name.replace("reason", "check"), model=SMALL) for task in request.tasks if task.model
    )
    first = tuple(replace(task, or_models=(SMALL,)) if task.model else task for task in request.tasks)
    flow = next(flow for flow in request.flows if flow.carries_kv)
    again = replace(flow, source="check.prefill", target="check.decode", block="check")
    block = replace(request.blocks[1], name="check", tasks=("check.prefill", "check.decode"))
    both = replace(request, tasks=(*first, *second), flows=(*request.flows, again), blocks=(*request.blocks, block))
    assert taken(build(both)) == ("small", "small")
