"""Answers about a plan, each against planning again: prices, reasons, fronts, limits."""

import math
from dataclasses import replace

import pytest
from hypothesis import assume, given, settings

from tests.effort import cases
from tests.plan.problems import problems
from tests.plan.test_build import voice
from tests.plan.test_solve import SLOW
from weft.core.errors import PlanError
from weft.plan.build import build
from weft.plan.goodput import most_runs
from weft.plan.pareto import pareto_front
from weft.plan.problem import Objective, Placement, PlacementProblem
from weft.plan.sensitivity import cost_of, sensitivity
from weft.plan.shadow import marginal_prices, relaxed_cost, shadow_prices
from weft.plan.solve import solve
from weft.plan.why_not import why_not


@settings(SLOW, max_examples=cases(80))
@given(problems(penalty_usd_per_s=None))
def test_duals_are_finite_differences(problem: PlacementProblem) -> None:
    """Where cost is smooth on both sides of the limit; at a kink the dual lies between the two slopes."""
    base, prices = relaxed_cost(problem), marginal_prices(problem)
    assume(base is not None)
    assert base is not None
    scale = 1e-6 if problem.objective is Objective.USD_PER_REQUEST else 1.0
    step = 1e-4
    for name, price in prices.items():
        more, less = (relaxed_cost(_moved(problem, name, sign * step)) for sign in (1, -1))
        assert more is not None
        right = (base - more) / step
        left = math.inf if less is None else (less - base) / step
        assert right - 1e-2 * scale <= price * (1 + 1e-3) + 1e-2 * scale
        assert price <= left * (1 + 1e-3) + 1e-2 * scale


def _moved(problem: PlacementProblem, name: str, step: float) -> PlacementProblem:
    if name == "e2e_s":
        assert problem.e2e_limit_s is not None
        return replace(problem, e2e_limit_s=problem.e2e_limit_s + step)
    kept = [each for each in problem.promises if each.name == name]
    if kept:
        moved = replace(kept[0], limit_s=kept[0].limit_s + step)
        return replace(problem, promises=tuple(moved if each in kept else each for each in problem.promises))
    if name in problem.link_bytes_per_s:
        wider = {**problem.link_bytes_per_s, name: problem.link_bytes_per_s[name] + step}
        return replace(problem, link_bytes_per_s=wider)
    return replace(problem, inventory={**problem.inventory, name: problem.inventory[name] + step})  # pyright: ignore


@settings(SLOW, max_examples=cases(60))
@given(problems())
def test_the_relaxation_is_a_bound(problem: PlacementProblem) -> None:
    try:
        found = solve(problem)
    except PlanError:
        return
    bound = relaxed_cost(problem)
    assert bound is not None
    assert bound <= found.objective * (1 + 1e-6) + 1e-6


def test_shadow_prices_are_differences_of_plans() -> None:
    saved: list[float] = []
    for h100s in (2, 3):
        few = tuple(replace(each, count=h100s if each.device.id == "h100" else 16) for each in voice().fleet.groups)
        request = voice(rate_per_s=60.0, fleet=replace(voice().fleet, groups=few))
        found = solve(build(request).problem)
        prices = {each.change: each.saves_usd_per_hour for each in shadow_prices(request, found, {"h100@a": h100s})}
        assert (prices["1 run/s more"] or 0.0) <= 0
        for name, at in (("h100@a", 0), ("a100@a", 1)):
            groups = tuple(replace(each, count=each.count + (index == at)) for index, each in enumerate(few))
            again = solve(build(replace(request, fleet=replace(request.fleet, groups=groups))).problem)
            saving = prices[f"one more {name}"]
            assert saving == pytest.approx(found.objective - again.objective, abs=1e-6)
            saved.append(saving or 0.0)
        assert "one fewer h100@a" in prices and "one fewer a100@a" not in prices
    assert min(saved) >= 0, "more choice never costs"


def test_why_not_forces_the_step_or_tells_what_refused_it() -> None:
    planned = build(voice())
    found = solve(planned.problem)
    for device in ("h100", "a100"):
        for answer in why_not(planned, found, device):
            if answer.extra_usd_per_hour is not None:
                assert answer.extra_usd_per_hour >= -1e-9
    transcribe = next(each for each in why_not(planned, found, "h100") if each.step == "transcribe")
    assert "no CPU" in transcribe.answer


def test_a_plan_that_flips_regrets_and_a_robust_one_holds() -> None:
    request = voice()
    planned = build(request)
    found = solve(planned.problem)
    report = sensitivity(request, planned, found)
    assert {each.family for each in report.scenarios} == {"h100", "a100"}
    for each in report.scenarios:
        if each.best is not None and each.kept is not None:
            assert each.best <= each.kept + 1e-9
            assert each.flips == (each.best < each.kept * (1 - 1e-6))
    assert cost_of(planned.problem, found.choice) == pytest.approx(found.objective)
    if report.robust:
        assert report.worst is not None and report.worst >= found.objective - 1e-9


@settings(SLOW, max_examples=cases(40))
@given(problems(objective=Objective.USD_PER_HOUR, energy_limit_j=None, penalty_usd_per_s=None))
def test_no_point_of_the_front_beats_another(problem: PlacementProblem) -> None:
    try:
        cheapest = solve(problem)
    except PlanError:
        return
    front = pareto_front(problem, 3)
    assert min(each.objective for each in front) == pytest.approx(cheapest.objective)
    numbers = [(each.objective, each.e2e_s, each.joules_per_request) for each in front]
    for a in numbers:
        assert not any(_beats(b, a) for b in numbers)


def _beats(a: tuple[float, ...], b: tuple[float, ...]) -> bool:
    return a != b and all(x <= y for x, y in zip(a, b, strict=True))


def test_the_most_runs_cost_no_more_than_the_budget() -> None:
    rate, plan = most_runs(voice(), 4.0)
    assert plan.usd_per_hour <= 4.0

    def at(rate_per_s: float) -> Placement:
        return solve(build(voice(rate_per_s=rate_per_s)).problem)

    assert at(rate).usd_per_hour == pytest.approx(plan.usd_per_hour)
    assert at(rate * 1.002).usd_per_hour > 4.0
    with pytest.raises(PlanError, match="carry no run at all"):
        most_runs(voice(), 0.01)
