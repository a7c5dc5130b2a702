"""The solver against the enumeration, and against the paper's worked example."""

import math
import random
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, Phase, event, given, settings

from tests.effort import cases
from tests.plan.problems import problems
from weft.core.errors import PlanError
from weft.plan.exact import enumerate_best
from weft.plan.homogeneous import homogeneous
from weft.plan.problem import Block, Handoff, Objective, Option, PlacementProblem, PoolSpec, Task
from weft.plan.solve import solve

SLOW = settings(
    max_examples=cases(120),
    deadline=None,
    phases=set(Phase) - {Phase.shrink, Phase.explain},
    suppress_health_check=list(HealthCheck),
    derandomize=True,
)


def paper_table_3() -> PlacementProblem:
    """1000 input tokens, 500 output tokens; prices per token become prices per visit."""
    hp, co = (PoolSpec(name, name, 1, 0.0, name) for name in ("HP", "CO"))

    def option(task: str, pool: PoolSpec, latency_ms: float, usd: float) -> Option:
        return Option(f"{task}@{pool.name}", pool, latency_ms / 1000, 0.0, usd, port=pool.name)

    prefill = Task("prefill", 1, (option("prefill", hp, 80, 0.08), option("prefill", co, 130, 0.05)))
    decode = Task("decode", 1, (option("decode", hp, 25, 0.03), option("decode", co, 30, 0.01)))
    kv = Handoff("prefill", "decode", 1, "call", {("HP", "CO"): 0.010}, {("HP", "CO"): 0.005})
    return PlacementProblem(
        tasks=(prefill, decode),
        handoffs=(kv,),
        blocks=(Block("call", 1, ("prefill", "decode")),),
        rate_per_s=1.0,
        e2e_limit_s=0.120,
        objective=Objective.USD_PER_REQUEST,
    )


def only(problem: PlacementProblem, prefill: str, decode: str) -> PlacementProblem:
    wanted = (f"prefill@{prefill}", f"decode@{decode}")
    return replace(
        problem,
        tasks=tuple(replace(t, options=tuple(o for o in t.options if o.name in wanted)) for t in problem.tasks),
    )


def test_the_papers_example_splits_prefill_and_decode():
    answer = solve(paper_table_3())
    assert answer.choice == {"prefill": "prefill@HP", "decode": "decode@CO"}
    assert answer.e2e_s == pytest.approx(0.120)
    assert answer.objective == pytest.approx(0.095)
    assert answer.gap <= 1e-6


def test_the_papers_homogeneous_pairs():
    fast = solve(only(paper_table_3(), "HP", "HP"))
    assert (fast.e2e_s, fast.objective) == (pytest.approx(0.105), pytest.approx(0.11))
    with pytest.raises(PlanError, match=r"120\.0 ms asked, best is 160\.0 ms"):
        solve(only(paper_table_3(), "CO", "CO"))


def test_a_soft_limit_pays_for_lateness():
    """CO+CO is 40 ms late and $0.035 cheaper than HP→CO (the paper prints $0.07 for it; its own prices give $0.06)."""
    cheap = solve(replace(paper_table_3(), penalty_usd_per_s=0.5))
    assert cheap.choice == {"prefill": "prefill@CO", "decode": "decode@CO"}
    assert cheap.slack_s == pytest.approx(0.040)
    assert cheap.objective == pytest.approx(0.06 + 0.5 * 0.040)
    assert solve(replace(paper_table_3(), penalty_usd_per_s=2.0)).objective == pytest.approx(0.095)


@SLOW
@given(problems())
def test_solver_equals_enumeration(problem: PlacementProblem):
    expected = enumerate_best(problem)
    event("feasible" if expected else "infeasible")
    if expected is None:
        with pytest.raises(PlanError):
            solve(problem)
        return
    answer = solve(problem)
    nothing_usd = 1e-6 if problem.objective is Objective.USD_PER_HOUR else 1e-11
    assert answer.objective == pytest.approx(expected.objective, rel=1e-6, abs=nothing_usd)
    assert answer.e2e_s <= expected.e2e_s + 1e-6
    if problem.penalty_usd_per_s is None and problem.e2e_limit_s is not None:
        assert answer.e2e_s <= problem.e2e_limit_s + 1e-6


@settings(SLOW, max_examples=cases(60))
@given(problems())
def test_a_mix_is_never_dearer_than_one_family(problem: PlacementProblem):
    entries = homogeneous(problem)
    placed = [entry.placement for entry in entries if entry.placement]
    assert all(entry.reason for entry in entries if entry.placement is None)
    if placed:
        assert solve(problem).objective <= min(found.objective for found in placed) + 1e-6


@settings(SLOW, max_examples=cases(30))
@given(problems())
def test_solving_repeats_exactly(problem: PlacementProblem):
    def answer():
        try:
            return replace(solve(problem), solve_s=0.0)
        except PlanError as error:
            return str(error)

    assert answer() == answer()


def one_task(**terms: object) -> PlacementProblem:
    pool = PoolSpec("h100 x 2", "h100@a", 2, 3.0, "h100")
    task = Task("decode", 1.0, (Option("tp2", pool, latency_s=1.0, busy_s=1.0),))
    return replace(PlacementProblem((task,), (), (Block("b", 1.0, ("decode",)),), rate_per_s=8.0), **terms)  # pyright: ignore


def test_missing_devices_are_counted():
    """8/s at 0.8 need 10 replicas of 2 devices."""
    assert solve(one_task()).replicas == {"h100 x 2": 10}
    with pytest.raises(PlanError, match=r"need at least 4 h100@a more than there are; add 4 h100@a"):
        solve(one_task(inventory={"h100@a": 16}))


def test_late_and_short_are_told_together():
    with pytest.raises(PlanError, match=r"4 h100@a more than there are, and even then the best is 1\.00 s"):
        solve(one_task(inventory={"h100@a": 16}, e2e_limit_s=0.5))


def test_the_way_out_of_lateness_can_be_typed_back_in():
    with pytest.raises(PlanError, match="raise e2e_s to 1, or add faster devices"):
        solve(one_task(e2e_limit_s=0.5))
    assert solve(one_task(e2e_limit_s=1.0)).slack_s == 0.0


def test_a_pair_that_cannot_be_joined():
    pool = PoolSpec("p", "a", 1, 1.0)
    ends = tuple(Task(name, 1.0, (Option(name, pool, 1.0, 1.0, port=name),)) for name in ("east", "west"))
    gap = Handoff("east", "west", 1.0, "b", {("east", "west"): math.inf})
    with pytest.raises(PlanError, match="east → west"):
        solve(PlacementProblem(ends, (gap,), (Block("b", 1.0, ("east", "west")),), rate_per_s=1.0))


def test_no_time_is_refused():
    """Twenty tasks that compete for devices under a joint time limit: nothing that presolve settles at once."""
    draw = random.Random(1)
    tasks = tuple(Task(f"t{i}", 1.0, tuple(_any_option(draw, f"t{i}.{k}") for k in range(10))) for i in range(20))
    blocks = tuple(Block(f"b{i}", 1.0, (f"t{i}",)) for i in range(20))
    problem = PlacementProblem(tasks, (), blocks, 3.0, {"device": 80}, e2e_limit_s=12.0)
    with pytest.raises(PlanError, match="placement of 20 steps over 200 options: no solution within 0 s"):
        solve(problem, time_limit_s=0.0)
    assert solve(problem).e2e_s <= 12.0


def _any_option(draw: random.Random, name: str) -> Option:
    pool = PoolSpec(name, "device", 1, draw.uniform(0.1, 3))
    return Option(name, pool, latency_s=draw.uniform(0.1, 2), busy_s=draw.uniform(0.1, 5))
