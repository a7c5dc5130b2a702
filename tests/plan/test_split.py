"""Split traffic: against a second formulation, against whole choices, and on an example that can be done by hand."""

from dataclasses import replace

import pytest
from hypothesis import given, settings

from tests.effort import cases
from tests.plan.problems import problems
from tests.plan.second_formulation import Second
from tests.plan.test_solve import SLOW
from weft.core.errors import PlanError
from weft.plan.problem import Block, Handoff, Objective, Option, PlacementProblem, PoolSpec, Task
from weft.plan.solve import solve

NEAR = {
    Objective.USD_PER_HOUR: 1e-4,
    Objective.USD_PER_REQUEST: 1e-9,
    Objective.JOULES_PER_REQUEST: 1e-4,
    Objective.E2E_S: 1e-4,
    Objective.USD_TO_BUY: 1e-1,
}
"""Tolerance of the two solvers, in the unit of the objective: shares may be off by 1e-6 on either side."""


@SLOW
@given(problems(split=True))
def test_two_formulations_agree(problem: PlacementProblem) -> None:
    expected = Second(problem).solve()
    if expected is None:
        with pytest.raises(PlanError):
            solve(problem)
        return
    answer = solve(problem)
    assert answer.objective == pytest.approx(expected, rel=1e-5, abs=NEAR[problem.objective])
    for shares in answer.shares.values():
        assert sum(shares.values()) == pytest.approx(1.0)


@settings(SLOW, max_examples=cases(50))
@given(problems())
def test_splitting_never_costs(problem: PlacementProblem) -> None:
    try:
        one = solve(problem)
    except PlanError:
        return
    several = solve(replace_split(problem))
    assert several.objective <= one.objective * (1 + 1e-5) + NEAR[problem.objective]


def replace_split(problem: PlacementProblem) -> PlacementProblem:
    return replace(problem, split=True)


def test_ten_replicas_from_two_classes() -> None:
    """Load 10, of which the cheap class can carry 6: the dear one takes the rest; whole, all ten are dear."""
    cheap, dear = PoolSpec("cheap", "cheap", 1, 1.0), PoolSpec("dear", "dear", 1, 3.0)
    task = Task("decode", 1.0, (Option("c", cheap, 2.0, 1.0), Option("d", dear, 1.0, 1.0)))
    block = (Block("b", 1.0, ("decode",)),)
    whole = PlacementProblem((task,), (), block, 10.0, {"cheap": 6, "dear": 20}, max_utilisation=1.0)
    assert solve(whole).usd_per_hour == pytest.approx(30.0)
    answer = solve(replace_split(whole))
    assert answer.usd_per_hour == pytest.approx(6 * 1.0 + 4 * 3.0)
    assert answer.replicas == {"cheap": 6, "dear": 4}
    assert answer.shares["decode"] == pytest.approx({"c": 0.6, "d": 0.4})
    assert answer.e2e_s == pytest.approx(0.6 * 2.0 + 0.4 * 1.0)


def test_one_replica_serves_both_phases() -> None:
    """Two pools cost 2 $/h; one that does both costs 1.5 and moves nothing."""
    apart = [PoolSpec(name, "gpu", 1, 1.0) for name in ("prefill", "decode")]
    both = PoolSpec("both", "gpu", 1, 1.5)
    ends = [
        Task(pool.name, 1.0, (Option(f"{pool.name}.apart", pool, 1.0, 0.1), Option("both", both, 1.2, 0.1, tie="both")))
        for pool in apart
    ]
    kv = Handoff("prefill", "decode", 1.0, "call", {("", ""): 0.5}, {("", ""): 0.01}, tied=True)
    problem = PlacementProblem(tuple(ends), (kv,), (Block("call", 1.0, ("prefill", "decode")),), 1.0)
    answer = solve(problem)
    assert answer.choice == {"prefill": "both", "decode": "both"}
    assert (answer.usd_per_hour, answer.e2e_s) == (pytest.approx(1.5), pytest.approx(2.4))
