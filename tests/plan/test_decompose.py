"""Bound and search against the enumeration: bound ≤ optimum ≤ what is found, and what is found is near."""

import itertools
import math
import random
from dataclasses import replace

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from planner_problems import supervisor
from tests.plan.problems import problems
from tests.plan.test_solve import SLOW
from weft.plan.decompose.bound import Prices, Relaxation, bound
from weft.plan.decompose.search import search
from weft.plan.decompose.slots import cheapest, slots
from weft.plan.decompose.state import Fines, State
from weft.plan.decompose.tables import is_known, tables
from weft.plan.evaluate import Proof, placement, whole
from weft.plan.exact import enumerate_best
from weft.plan.large import decomposed
from weft.plan.problem import Objective, PlacementProblem
from weft.plan.solve import solve

WEIGHED = [each for each in Objective if each is not Objective.USD_TO_BUY]


def weighed(**fixed: object) -> st.SearchStrategy[PlacementProblem]:
    """Problems of terms that bound and search know."""
    terms = {"energy_limit_j": None, "market": {}, "budget_usd": None, **fixed}
    return st.sampled_from(WEIGHED).flatmap(lambda objective: problems(**{"objective": objective, **terms}))


def no_hurry() -> float:
    return math.inf


@settings(SLOW, max_examples=300)
@given(weighed())
def test_the_gap_is_true(problem: PlacementProblem):
    best, found = enumerate_best(problem), decomposed(problem, 60.0, 0.0)
    if best is None:
        assert found is None
        return
    assert found is not None
    assert found.objective >= best.objective * (1 - 1e-6) - 1e-9
    assert found.objective * (1 - found.gap) <= best.objective * (1 + 1e-6) + 1e-6


@settings(SLOW, max_examples=150)
@given(weighed())
def test_what_is_found_is_within_three_percent(problem: PlacementProblem):
    best = enumerate_best(problem)
    assume(best is not None)
    found = decomposed(problem, 60.0, 0.0)
    assert best is not None and found is not None
    assert found.objective <= best.objective * 1.03 + 1e-9


@settings(SLOW, max_examples=150)
@given(weighed(), st.lists(st.floats(0, 20), min_size=3, max_size=3), st.floats(0, 20))
def test_any_prices_give_a_bound(problem: PlacementProblem, each: list[float], second: float):
    best = enumerate_best(problem)
    assume(best is not None)
    assert best is not None
    of = tables(problem)
    prices = Prices(of.inventory * 0 + each[: len(of.inventory)], second if problem.hard_limit else 0.0)
    relaxation = Relaxation(slots(of))
    value = relaxation.at(prices).value
    assert value <= best.objective * (1 + 1e-6) + 1e-6


@settings(SLOW, max_examples=100)
@given(weighed(), st.integers(0, 1000))
def test_changes_add_up(problem: PlacementProblem, seed: int):
    """Whatever is changed, in any order, the state is that of a fresh count; and that is the plan's own arithmetic."""
    of, dice = tables(problem), random.Random(seed)
    start = [int(begin) for begin in of.first[:-1]]
    state = State(of, start, Fines([1.0] * len(of.inventory), 1.0, 1e3))
    for _ in range(30):
        tasks = dice.sample(range(of.tasks), dice.randint(1, min(2, of.tasks)))
        moves = [(task, dice.randrange(int(of.first[task]), int(of.first[task + 1]))) for task in tasks]
        state.apply(moves, state.weigh(moves))
    paid, seconds, used, holds = state.paid, state.seconds, list(state.used), state.holds
    objective = state.objective
    state.restart(state.option)
    assert (paid, seconds, used, holds) == (
        pytest.approx(state.paid),
        pytest.approx(state.seconds),
        pytest.approx(state.used),
        state.holds,
    )
    if state.holds:
        options = [option for task in problem.tasks for option in task.options]
        choice = {task.name: options[at] for task, at in zip(problem.tasks, state.option, strict=True)}
        assert objective == pytest.approx(placement(problem, whole(problem, choice), Proof(0, 0)).objective, abs=1e-9)


@settings(SLOW, max_examples=150)
@given(weighed(rate_per_s=0.0, e2e_limit_s=None, inventory={}))
def test_slots_are_exact_on_forests(problem: PlacementProblem):
    """Without anything shared, the cheapest options that agree with a forest of hand-offs are those of enumeration."""
    of = tables(problem)
    forest: list[int] = []
    for at, hop in enumerate(of.hops):
        if hop.source != hop.target and not _joined([of.hops[each] for each in forest], hop.source, hop.target):
            forest.append(at)
    problem = replace(problem, handoffs=tuple(problem.handoffs[at] for at in forest))
    of = tables(problem)
    cost = of.cost + of.latency_s
    found = cheapest(slots(of), cost, 1.0, of.hops and [1.0] * len(of.hops) and _ones(len(of.hops)) or _ones(0))
    best = math.inf
    options = [option for task in problem.tasks for option in task.options]
    state = State(of, [int(begin) for begin in of.first[:-1]], Fines([], 0.0, math.inf))
    for chosen in itertools.product(*(range(int(a), int(b)) for a, b in itertools.pairwise(of.first))):
        moved = [state.paths.moved_s(hop, chosen) for hop in range(len(of.hops))]
        usd = sum(
            0.0
            if hop.tied and options[chosen[hop.source]].tie
            else float(hop.usd[of.port[chosen[hop.source]], of.port[chosen[hop.target]]])
            for hop in of.hops
        )
        best = min(best, sum(float(cost[each]) for each in chosen) + sum(moved) + usd)
    assert found.cost == pytest.approx(best)


def _ones(count: int):
    import numpy as np

    return np.ones(count)


def _joined(hops: list, a: int, b: int) -> bool:
    reached = {a}
    while True:
        more = {end for hop in hops for end in (hop.source, hop.target) if {hop.source, hop.target} & reached} - reached
        if not more:
            return b in reached
        reached |= more
