"""Limits on how busy single steps may keep their pools, and hand-offs their links: the solver against enumeration."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.effort import cases
from tests.plan.problems import full_problems
from tests.plan.test_solve import SLOW
from weft.core.errors import PlanError
from weft.plan.exact import enumerate_best
from weft.plan.problem import Block, Objective, Option, PlacementProblem, PoolSpec, Task
from weft.plan.solve import solve

LIMITS = st.one_of(st.none(), st.sampled_from((0.3, 0.55, 0.95)))


@settings(SLOW, max_examples=cases(60))
@given(full_problems(), st.lists(LIMITS, min_size=4, max_size=4), LIMITS)
def test_solver_equals_enumeration(problem: PlacementProblem, limits: list[float | None], link: float | None) -> None:
    tasks = (replace(task, max_utilisation=most) for task, most in zip(problem.tasks, limits, strict=False))
    limited = replace(problem, tasks=tuple(tasks), max_link_utilisation=link)
    expected = enumerate_best(limited)
    if expected is None:
        with pytest.raises(PlanError):
            solve(limited)
    else:
        assert solve(limited).objective == pytest.approx(expected.objective, rel=1e-6, abs=1e-6)


@pytest.mark.parametrize(("most", "replicas"), [(None, 10), (1.0, 8), (0.5, 16), (8 / 11, 11)])
def test_a_step_buys_its_own_headroom(most: float | None, replicas: int) -> None:
    """4 requests/s of 2 s keep 8 replicas busy."""
    pool = PoolSpec("p", "d", 1, 1.0)
    task = Task("t", 1.0, (Option("o", pool, 2.0, 2.0),), most)
    problem = PlacementProblem((task,), (), (Block("b", 1.0, ("t",)),), 4.0, objective=Objective.USD_PER_HOUR)
    assert solve(problem).replicas == {"p": replicas}
