"""Planning alike steps as one: exact where they are equal, and always true to what the steps add up to."""

from dataclasses import replace

import pytest

from weft import catalog
from weft.estimate.coefficients import efficiencies
from weft.plan.alike import MOST_CALLS, alike
from weft.plan.build import build
from weft.plan.problem import Block
from weft.plan.replan import replan
from weft.plan.requests import Flow, LeafTask, PlanRequest, Serving, TaskKind
from weft.plan.solve import solve


def request(calls: int, spread: int = 0) -> PlanRequest:
    """A chain of calls, each with a CPU step; `spread`: prompt tokens that each has more than the one before."""
    model = catalog.model("llama-3-8b")
    tasks: list[LeafTask] = []
    flows: list[Flow] = []
    for number in range(calls):
        sizes = {"visits": 1.0 + number % 2, "model": model, "isl": 500 + spread * number, "osl": 50}
        tasks += [
            LeafTask(f"c{number}.prefill", TaskKind.PREFILL, **sizes),
            LeafTask(f"c{number}.decode", TaskKind.DECODE, **sizes),
            LeafTask(f"c{number}.tool", TaskKind.CPU, 1.0 + number % 2, core_s=0.01),
        ]
        block, visits = f"b{number}", 1.0 + number % 2
        flows.append(Flow(f"c{number}.prefill", f"c{number}.decode", visits, block, carries_kv=True))
        flows.append(Flow(f"c{number}.decode", f"c{number}.tool", visits, block, 1e3))
    names = [[task.name for task in tasks[3 * number : 3 * number + 3]] for number in range(calls)]
    blocks = tuple(Block(f"b{number}", 1.0 + number % 2, tuple(each)) for number, each in enumerate(names))
    return PlanRequest(
        tasks=tuple(tasks),
        flows=tuple(flows),
        blocks=blocks,
        fleet=catalog.load_fleet("paper"),
        finance=catalog.finance("owned"),
        slo=catalog.slo("offline"),
        rate_per_s=5.0,
        efficiencies=efficiencies(),
        serving=Serving.DISAGGREGATED,
    )


def test_few_steps_and_split_traffic_are_planned_one_by_one() -> None:
    for asked in (request(MOST_CALLS), replace(request(20), split=True)):
        assert alike(asked).small is asked


def test_equal_steps_are_one_and_cost_what_all_of_them_cost() -> None:
    """The optimum of equal steps treats them alike where pools are shared: the full problem finds no cheaper one."""
    asked = request(MOST_CALLS + 1)
    kinds = alike(asked)
    assert len(kinds.small.tasks) == 3
    assert sum(task.visits for task in kinds.small.tasks) == sum(task.visits for task in asked.tasks)
    planned = build(kinds.small)
    _, spread = kinds.spread(planned, few := solve(planned.problem))
    full = solve(build(asked).problem)
    assert spread.usd_per_hour == pytest.approx(few.usd_per_hour)
    assert spread.usd_per_hour == pytest.approx(full.usd_per_hour)
    assert spread.choice.keys() == full.choice.keys()


def test_steps_of_other_sizes_add_up() -> None:
    """Each step has the time of its own size; together they keep the pools as busy as their kind did."""
    asked = request(30, spread=1)
    kinds = alike(asked)
    assert len(kinds.small.tasks) == 5, "two kinds of calls, one of tools"
    planned = build(kinds.small)
    few = solve(planned.problem)
    whole, found = kinds.spread(planned, few)
    assert found.choice.keys() == {task.name for task in asked.tasks}
    assert found.replicas == few.replicas
    assert found.usd_per_request == pytest.approx(few.usd_per_request, rel=5e-3), "mean sizes are whole tokens"
    names = [name for name, kind in kinds.kind_of.items() if kind == "c0.prefill"]
    first, last = (whole.candidates[name][found.choice[name]] for name in (names[0], names[-1]))
    tokens = [asked.task(name).isl for name in (names[0], names[-1])]
    work = [each.option.latency_s - each.wait_s for each in (first, last)]
    assert work[1] / work[0] == pytest.approx(tokens[1] / tokens[0])


def test_planning_again_from_the_plan_of_kinds_is_as_good_and_proven() -> None:
    """However little time the search has, whose bound is weak here."""
    planned = build(alike(request(20, spread=5)).small)
    best = solve(planned.problem)
    again = replan(planned.problem, best.choice, time_limit_s=1e-3, exact_s=60.0)
    assert again.choice == best.choice
    assert again.gap <= 1e-6
