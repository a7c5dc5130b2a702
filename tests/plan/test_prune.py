"""Pruning drops much and changes nothing."""

from dataclasses import replace

import pytest
from hypothesis import given

from tests.plan.problems import problems
from tests.plan.test_solve import SLOW
from weft.plan.exact import enumerate_best
from weft.plan.problem import Block, Objective, Option, PlacementProblem, PoolSpec, Task
from weft.plan.prune import pruned


@SLOW
@given(problems())
def test_the_optimum_stays(problem: PlacementProblem):
    before, after = enumerate_best(problem), enumerate_best(pruned(problem))
    assert (before is None) == (after is None)
    if before and after:
        assert after.objective == pytest.approx(before.objective, rel=1e-9, abs=1e-9)
        assert after.e2e_s == pytest.approx(before.e2e_s)


def decode(name: str, visits: float) -> Task:
    """Batches of one replica: the larger, the slower and the less busy."""
    pools = {batch: PoolSpec(f"b{batch}", "h100", 1, 2.0) for batch in (1, 2, 4, 8)}
    options = tuple(Option(f"b{batch}", pools[batch], 1.0 + batch / 10, 1.0 / batch) for batch in pools)
    return Task(name, visits, options)


def problem_of(*tasks: Task, rate_per_s: float) -> PlacementProblem:
    blocks = (Block("b", 1.0, tuple(task.name for task in tasks)),)
    return PlacementProblem(tasks, (), blocks, rate_per_s, max_utilisation=1.0)


def kept(problem: PlacementProblem) -> list[list[str]]:
    return [[option.name for option in task.options] for task in pruned(problem).tasks]


def test_of_equal_replicas_the_fastest_stays():
    assert kept(problem_of(decode("a", 1.0), rate_per_s=0.5)) == [["b1"]]
    assert kept(problem_of(decode("a", 1.0), rate_per_s=2.0)) == [["b1", "b2"]]


def test_a_shared_pool_must_hold_all_its_tasks():
    """Alone each task fits one replica of b1; together only b2 holds them in one."""
    both = problem_of(decode("a", 1.0), decode("b", 1.0), rate_per_s=1.0)
    assert kept(both) == [["b1", "b2"], ["b1", "b2"]]


def test_fractions_of_replicas_keep_every_trade_off():
    relaxed = replace(problem_of(decode("a", 1.0), rate_per_s=0.5), objective=Objective.USD_PER_REQUEST)
    assert kept(relaxed) == [["b1", "b2", "b4", "b8"]]
