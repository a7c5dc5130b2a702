"""Narrowing: what an option is said to cost at least, no placement with it undercuts, and the optimum stays."""

from dataclasses import replace

from hypothesis import given, settings

from tests.effort import cases
from tests.plan.problems import problems
from tests.plan.test_solve import SLOW
from weft.plan.exact import enumerate_best
from weft.plan.formulation import Formulation
from weft.plan.narrow import floors
from weft.plan.problem import Option, PlacementProblem, Task


@settings(SLOW, max_examples=cases(60))
@given(problems())
def test_floors_hold_for_every_option(problem: PlacementProblem) -> None:
    found, best = floors(Formulation(problem), 60.0), enumerate_best(problem)
    if found is None or best is None:
        return
    assert found.bound <= best.objective + 1e-6
    kept = {task.name: {option.name for option in task.options} for task in found.within(best).tasks}
    assert all(best.choice[name] in options for name, options in kept.items())
    for task in problem.tasks:
        for option, least in zip(task.options, found.least[task.name], strict=True):
            cheapest = enumerate_best(_with(problem, task, option))
            if cheapest is not None:
                assert cheapest.objective >= least - 1e-6 * (1 + abs(least))


def _with(problem: PlacementProblem, task: Task, option: Option) -> PlacementProblem:
    tasks = (replace(each, options=(option,)) if each is task else each for each in problem.tasks)
    return replace(problem, tasks=tuple(tasks))
