"""Blocks told by their ways: the same times, the same optimum, as the paths that they are made of."""

import itertools
from collections.abc import Iterator
from dataclasses import replace

import pytest
from hypothesis import assume, given, settings

from tests.effort import cases
from tests.plan.problems import problems
from tests.plan.test_alike import request
from tests.plan.test_solve import SLOW
from weft.core.errors import PlanError
from weft.plan.alike import MOST_CALLS, Alike, alike
from weft.plan.build import Planned, build
from weft.plan.evaluate import Proof, placement, whole
from weft.plan.exact import enumerate_best
from weft.plan.problem import Block, Placement, PlacementProblem, Way
from weft.plan.requests import Flow, PlanRequest
from weft.plan.solve import solve


def paths(problem: PlacementProblem, block: Block, task: str) -> Iterator[tuple[str, ...]]:
    """From the task to wherever they end."""
    after = [each.target for each in problem.inside(block) if each.source == task]
    yield from ((task, *rest) for target in after for rest in paths(problem, block, target)) if after else [(task,)]


def by_ways(problem: PlacementProblem, block: Block) -> Block:
    found = [path for task in block.tasks for path in paths(problem, block, task)]
    ones = [(dict.fromkeys(path, 1.0), dict.fromkeys(itertools.pairwise(path), 1.0)) for path in found]
    return replace(block, ways=tuple(Way(tasks, tasks, moves) for tasks, moves in ones))


@settings(SLOW, max_examples=cases(40))
@given(problems())
def test_a_block_is_its_paths(problem: PlacementProblem) -> None:
    ends = [(each.source, each.target) for each in problem.handoffs]
    assume(len(set(ends)) == len(ends) and not problem.in_parts)
    told = replace(problem, blocks=tuple(by_ways(problem, block) for block in problem.blocks))
    best, same = enumerate_best(problem), enumerate_best(told)
    assert (best is None) == (same is None)
    if best is None or same is None:
        with pytest.raises(PlanError):
            solve(told)
        return
    assert (same.objective, same.e2e_s) == pytest.approx((best.objective, best.e2e_s))
    assert solve(told).objective == pytest.approx(best.objective, rel=1e-5, abs=1e-6)


def side_by_side(spread: int = 0) -> PlanRequest:
    """Calls of one block that wait for nothing, and a tool that waits for all of them."""
    asked = request(MOST_CALLS + 2, spread)
    last = asked.tasks[-1]
    tasks = tuple(replace(task, visits=1.0) for task in asked.tasks if task.model or task is last)
    flows = [replace(flow, block="b", visits=1.0) for flow in asked.flows if flow.carries_kv]
    flows += [Flow(flow.target, last.name, 1.0, "b", 1e3) for flow in flows]
    blocks = (Block("b", 1.0, tuple(task.name for task in tasks)),)
    return replace(asked, tasks=tasks, flows=tuple(flows), blocks=blocks)


def few_options(kinds: Alike) -> Planned:
    """Four or so of each, as many devices as one likes."""
    planned = build(kinds.small)
    tasks = tuple(replace(task, options=task.options[:: len(task.options) // 4 + 1]) for task in planned.problem.tasks)
    return replace(planned, problem=replace(planned.problem, tasks=tasks, inventory={}))


def all_plans(kinds: Alike, planned: Planned) -> Iterator[Placement]:
    """Of every step, alike ones alike."""
    problem = planned.problem
    for options in itertools.product(*(task.options for task in problem.tasks)):
        choice = {task.name: option for task, option in zip(problem.tasks, options, strict=True)}
        yield kinds.spread(planned, placement(problem, whole(problem, choice), Proof(0.0, 0.0)))[1]


@pytest.mark.parametrize("spread", [0, 1])
def test_steps_side_by_side_are_as_fast_as_the_slowest(spread: int) -> None:
    """The cheapest of all plans within a limit that steps one after the other would miss."""
    kinds = alike(side_by_side(spread))
    planned = few_options(kinds)
    plans = sorted(all_plans(kinds, planned), key=lambda each: each.usd_per_hour)
    limit_s = sorted(each.e2e_s for each in plans)[len(plans) // 4] * 1.001
    best = next(each for each in plans if each.e2e_s <= limit_s)
    found = solve(replace(planned.problem, e2e_limit_s=limit_s))
    own = kinds.spread(planned, found)[1]
    assert own.usd_per_hour == pytest.approx(best.usd_per_hour)
    assert own.e2e_s <= limit_s
    assert found.e2e_s == pytest.approx(own.e2e_s, rel=1e-6 if not spread else 1e-2)
    times_s = [route.option.latency_s for route in planned.candidates["c0.decode"].values()]
    assert limit_s < (MOST_CALLS + 2) * min(times_s), "one after the other none holds"
