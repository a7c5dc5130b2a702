"""The ways that large problems take: never below the optimum, and their gaps are true."""

from hypothesis import given, settings

from planner_problems import supervisor
from tests.effort import cases
from tests.plan.problems import problems
from tests.plan.test_solve import SLOW
from weft.plan.exact import enumerate_best
from weft.plan.large import solve_large
from weft.plan.problem import PlacementProblem
from weft.plan.restricted import solve_restricted
from weft.plan.solve import solve


@settings(SLOW, max_examples=cases(50))
@given(problems())
def test_the_gap_of_the_restricted_milp_holds(problem: PlacementProblem) -> None:
    expected = enumerate_best(problem)
    found = solve_restricted(problem, 10.0, 1e-6)
    if expected is None:
        assert found is None
        return
    assert found is not None
    assert found.objective >= expected.objective * (1 - 1e-6) - 1e-9
    assert found.objective * (1 - found.gap) <= expected.objective * (1 + 1e-6) + 1e-6


def test_a_supervisor_with_many_steps() -> None:
    problem = supervisor(steps=24, options=20, zones=2)
    best, quick = solve(problem, relative_gap=1e-2), solve_large(problem, 10.0, 1e-2)
    assert quick is not None
    assert quick.objective >= best.objective * (1 - best.gap)
    assert best.objective >= quick.objective * (1 - quick.gap)
    assert quick.gap <= 0.02


def test_the_search_repeats_itself() -> None:
    problem = supervisor(steps=12, options=10, zones=3)
    first, second = (solve_large(problem, 60.0, 1e-2) for _ in range(2))
    assert first is not None and second is not None
    assert first.choice == second.choice
