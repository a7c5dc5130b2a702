"""Planning again after a change: as good as planning anew, and honest about its gap."""

from dataclasses import replace

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from planner_problems import supervisor
from tests.effort import cases
from tests.plan.problems import problems
from tests.plan.test_solve import SLOW
from weft.core.errors import PlanError
from weft.plan.exact import enumerate_best
from weft.plan.large import decomposed
from weft.plan.problem import Placement, PlacementProblem
from weft.plan.replan import kept, replan


def outcome(problem: PlacementProblem, before: Placement) -> Placement | None:
    try:
        return replan(problem, before.choice)
    except PlanError:
        return None


@settings(SLOW, max_examples=cases(60))
@given(problems(), st.sampled_from((0.5, 1.0, 1.6)), st.integers(0, 10))
def test_replanning_equals_enumeration(problem: PlacementProblem, busier: float, lost: int):
    """At another rate, and with devices lost."""
    before = enumerate_best(problem)
    assume(before is not None)
    assert before is not None
    fewer = {name: max(0, count - lost) for name, count in problem.inventory.items()}
    changed = replace(problem, rate_per_s=problem.rate_per_s * busier, inventory=fewer)
    best, found = enumerate_best(changed), outcome(changed, before)
    assert (found is None) == (best is None)
    if best and found:
        assert found.objective == pytest.approx(best.objective, rel=1e-5, abs=1e-6)
        assert found.objective * (1 - found.gap) <= best.objective * (1 + 1e-6) + 1e-6


@settings(SLOW, max_examples=cases(60))
@given(problems())
def test_what_is_kept_is_weighed_in_the_new_problem(problem: PlacementProblem):
    before = enumerate_best(problem)
    assume(before is not None)
    assert before is not None
    same = kept(problem, before.choice)
    assert same.gone == () and same.placement is not None
    assert same.placement.objective == pytest.approx(before.objective)
    first = problem.tasks[0]
    without = replace(first, options=tuple(each for each in first.options if each.name != before.choice[first.name]))
    after = kept(replace(problem, tasks=(without, *problem.tasks[1:])), before.choice)
    assert after.gone == (first.name,) and after.placement is None


def test_a_large_agent_is_planned_again_near_its_bound():
    """More runs, and half of the devices of the most used class lost."""
    problem = supervisor(steps=40, options=20, zones=3)
    before = decomposed(problem, 60.0, 1e-2)
    assert before is not None
    classes = {option.pool.name: option.pool.device_class for task in problem.tasks for option in task.options}
    most_used = classes[max(before.replicas, key=lambda pool: before.replicas[pool])]
    fewer = {**problem.inventory, most_used: problem.inventory[most_used] // 2}
    for changed in (replace(problem, rate_per_s=22.0), replace(problem, inventory=fewer)):
        found = decomposed(changed, 0.0, 1e-2, before.choice)
        assert found is not None
        assert found.gap <= 0.03
