"""What is told to make a request possible does so, and a little less does not."""

import math
import re
from dataclasses import replace

import pytest
from hypothesis import given, settings

from tests.effort import cases
from tests.plan.problems import problems
from tests.plan.test_build import FLEET, INTERACTIVE, voice
from tests.plan.test_solve import SLOW
from weft.core.errors import NoPlacementError, PlanError
from weft.core.workload import Slo
from weft.plan.build import build
from weft.plan.elastic import decide
from weft.plan.exact import enumerate_best
from weft.plan.problem import Objective, PlacementProblem
from weft.plan.requests import PlanRequest
from weft.plan.solve import solve


def refusal(request: PlanRequest) -> str:
    with pytest.raises(NoPlacementError) as refused:
        decide(request)
    return refused.value.way_out


def possible(request: PlanRequest) -> bool:
    try:
        decide(request)
    except NoPlacementError:
        return False
    return True


def number(pattern: str, text: str) -> float:
    found = re.search(pattern, text)
    assert found, f"{pattern} in {text!r}"
    return float(found[1])


@pytest.mark.parametrize(("limit", "asked"), [("ttft_s", 0.003), ("tpot_s", 0.0005), ("e2e_s", 0.5)])
def test_a_time_can_be_typed_back_in_and_is_the_smallest(limit: str, asked: float) -> None:
    impossible = voice(slo=replace(INTERACTIVE, **{limit: asked}))  # pyright: ignore[reportArgumentType]
    told_s = number(rf"raise {limit} to ([\d.]+)", refusal(impossible))
    assert possible(replace(impossible, slo=replace(impossible.slo, **{limit: told_s})))  # pyright: ignore
    assert not possible(replace(impossible, slo=replace(impossible.slo, **{limit: told_s * 0.99})))  # pyright: ignore


def test_the_least_energy_can_be_typed_back_in() -> None:
    impossible = voice(energy_limit_j=0.5)
    told = refusal(impossible)
    assert "raise the energy limit" in told
    joules = number(r"raise the energy limit to ([\d.]+) J", told)
    assert possible(voice(energy_limit_j=joules))
    assert not possible(voice(energy_limit_j=joules * 0.99))


def test_missing_devices_and_the_largest_rate() -> None:
    impossible = voice(rate_per_s=400.0)
    told = refusal(impossible)
    assert told.startswith("any one of these is enough: add ")
    rate = number(r"lower the rate to ([\d.]+) runs/s", told)
    assert possible(voice(rate_per_s=rate))
    assert not possible(voice(rate_per_s=rate * 1.02))
    more = {name: int(count) for count, name in re.findall(r"(\d+) (\w+@a)", told)}
    groups = tuple(replace(each, count=each.count + more.get(f"{each.device.id}@a", 0)) for each in FLEET.groups)
    assert possible(voice(rate_per_s=400.0, fleet=replace(FLEET, groups=groups)))


def test_limits_that_clash_are_told_together() -> None:
    impossible = voice(slo=Slo("all", ttft_s=0.003, tpot_s=0.0005, e2e_s=0.4))
    told = refusal(impossible)
    assert told.startswith("together these are enough: ")
    limits = {name: float(value) for name, value in re.findall(r"raise (\w+_s) to ([\d.]+)", told)}
    assert set(limits) == {"ttft_s", "tpot_s", "e2e_s"}
    assert possible(voice(slo=Slo("told", **limits)))


def test_a_pin_to_what_cannot_run_the_step_is_refused() -> None:
    request = voice()
    onto_gpu = tuple(replace(task, pinned="h100" if task.name == "speak" else "") for task in request.tasks)
    with pytest.raises(PlanError, match=r"speak: h100@a is no CPU .*; pin it elsewhere"):
        decide(replace(request, tasks=onto_gpu))
    nowhere = tuple(replace(task, pinned="@west") for task in request.tasks)
    with pytest.raises(PlanError, match="it is pinned to @west"):
        decide(replace(request, tasks=nowhere))


def test_a_pinned_call_runs_where_it_is_pinned() -> None:
    request = voice()
    on_a100 = tuple(replace(task, pinned="a100" if "reason" in task.name else "") for task in request.tasks)
    planned, found = decide(replace(request, tasks=on_a100, slo=Slo("any")))
    for step in ("reason.prefill", "reason.decode"):
        assert planned.candidates[step][found.choice[step]].group.device.id == "a100"


def test_an_infeasible_energy_limit_is_told_as_one() -> None:
    problem = replace(build(voice(weigh_energy=True)).problem, energy_limit_j=0.1)
    with pytest.raises(PlanError, match=r"energy: 0\.1 J a run asked, the least is [\d.]+ J"):
        solve(problem)


@settings(SLOW, max_examples=cases(80))
@given(problems(objective=Objective.USD_PER_HOUR))
def test_every_refusal_names_a_limit_that_is_asked(problem: PlacementProblem) -> None:
    """Energy only where energy alone (or with purchases) stands in the way; hand-offs only where none can be joined."""
    if enumerate_best(problem) is not None:
        return
    with pytest.raises(NoPlacementError) as refused:
        solve(problem)
    subject = refused.value.subject
    free = replace(problem, energy_limit_j=None, budget_usd=None)
    assert (subject in ("energy", "budget")) == (enumerate_best(free) is not None)
    lines = dict.fromkeys(free.link_bytes_per_s, math.inf)
    boundless = replace(free, e2e_limit_s=None, promises=(), inventory={}, market={}, link_bytes_per_s=lines)
    assert (subject == "hand-offs") == (enumerate_best(boundless) is None)
