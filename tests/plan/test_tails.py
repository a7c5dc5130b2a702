"""A p95 is an upper bound: of simulated runs at most one in twenty takes longer, whatever the steps do."""

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from weft.plan.evaluate import Proof, placement, whole
from weft.plan.problem import Block, Handoff, Option, PlacementProblem, PoolSpec, Task
from weft.plan.promises import P95, Course, Promise
from weft.plan.requests import LeafTask, TaskKind
from weft.plan.tails import DEVIATIONS, TAIL_SHARE, tail_factor

Draws = Callable[[np.random.Generator, int], NDArray[np.float64]]
"""Times of so many visits, in means of a visit."""

RUNS = 20_000
NOISE = 0.005
VARIATION = 0.5
POOL = PoolSpec("p", "d", 1, 1.0)


def lognormal(random: np.random.Generator, count: int) -> NDArray[np.float64]:
    sigma = np.sqrt(np.log(1 + VARIATION**2))
    return random.lognormal(-(sigma**2) / 2, sigma, count)


def rare_and_long(random: np.random.Generator, count: int) -> NDArray[np.float64]:
    """Two values, the far one in 2.5 % of visits: where Cantelli's inequality is tight."""
    kappa = DEVIATIONS - 0.5
    far = random.random(count) < TAIL_SHARE
    return np.where(far, 1 + VARIATION * kappa, 1 - VARIATION / kappa)


def gamma(random: np.random.Generator, count: int) -> NDArray[np.float64]:
    return random.gamma(1 / VARIATION**2, VARIATION**2, count)


def problem(share: float, *, with_tails: bool) -> PlacementProblem:
    """Two steps side by side, then one; a loop around them of up to three rounds; an answer."""
    factor = tail_factor(LeafTask("", TaskKind.CPU, 1.0, variation=VARIATION)) if with_tails else 0.0

    def task(name: str, mean_s: float) -> Task:
        return Task(name, 1.0, (Option(name, POOL, mean_s, 0.1, tail_s=mean_s * factor),))

    courses = tuple(
        Course(chance, {"think": rounds, "answer": 1.0}, {("join", "say"): 1.0})
        for rounds, chance in ((1.0, 0.5), (2.0, 0.25), (3.0, 0.23), (4.0, 0.02))
    )
    return PlacementProblem(
        tasks=(task("a", 1.0), task("b", 0.9), task("join", 0.5), task("say", 0.7)),
        handoffs=(
            Handoff("a", "join", 1.0, "think"),
            Handoff("b", "join", 1.0, "think", {("", ""): 0.2}),
            Handoff("join", "say", 1.0, None, {("", ""): 0.1}),
        ),
        blocks=(Block("think", 1.8, ("a", "b", "join")), Block("answer", 1.0, ("say",))),
        rate_per_s=1.0,
        promises=(Promise("p95", 10.0, courses, share, with_tails),),
    )


def promised_s(of: PlacementProblem) -> float:
    decision = whole(of, {task.name: task.options[0] for task in of.tasks})
    return placement(of, decision, Proof(0.0, 0.0)).promised_s["p95"]


def simulated_s(of: PlacementProblem, draws: Draws, *, one_luck: bool) -> NDArray[np.float64]:
    """`one_luck`: all visits of a run are slow together; otherwise each on its own."""
    random = np.random.default_rng(1)
    luck = draws(random, RUNS)

    def visit() -> NDArray[np.float64]:
        return luck if one_luck else draws(random, RUNS)

    chances = np.array([course.probability for course in of.promises[0].courses])
    rounds = random.choice(len(chances), RUNS, p=chances) + 1
    total_s = 0.1 + 0.7 * visit()
    for at in range(1, 5):
        round_s = np.maximum(1.0 * visit(), 0.9 * visit() + 0.2) + 0.5 * visit()
        total_s += np.where(rounds >= at, round_s, 0.0)
    return total_s


@pytest.mark.parametrize("one_luck", [False, True])
@pytest.mark.parametrize("draws", [lognormal, rare_and_long, gamma])
def test_one_run_in_twenty_is_later_at_most(draws: Draws, one_luck: bool) -> None:
    of = problem(P95 + TAIL_SHARE, with_tails=True)
    late = np.mean(simulated_s(of, draws, one_luck=one_luck) > promised_s(of))
    assert late <= 1 - P95 + NOISE


def test_without_tails_the_promise_would_be_broken() -> None:
    """The bound is not idle: at mean times far more runs are late."""
    of = problem(P95, with_tails=False)
    assert np.mean(simulated_s(of, lognormal, one_luck=True) > promised_s(of)) > 0.1


def test_steps_without_variation_make_it_exact() -> None:
    """Three rounds are enough for 98 % of the runs, two for 75 %."""
    of = problem(P95, with_tails=False)
    assert promised_s(of) == pytest.approx(3 * (1.1 + 0.5) + 0.1 + 0.7)


def test_an_answer_cannot_be_longer_than_its_most() -> None:
    short = LeafTask("", TaskKind.DECODE, 1.0, variation=0.5, most=1.2)
    assert tail_factor(short) == pytest.approx(0.2)
    assert tail_factor(LeafTask("", TaskKind.DECODE, 1.0, most=1.2)) == 0.0
