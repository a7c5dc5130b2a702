"""A step that starts on the first chunk: against a pipeline followed chunk by chunk, and on what overlap is worth."""

from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from weft.plan.evaluate import Proof, placement, whole
from weft.plan.problem import Block, Handoff, Option, PlacementProblem, PoolSpec, Task
from weft.plan.solve import solve

POOL = PoolSpec("p", "d", 1, 1.0)
Stage = tuple[float, float]
"""Seconds of work, and of waiting before it."""


def pipeline(stages: list[Stage], chunks: int) -> PlacementProblem:
    """Each stage streams to the next, after a stage that does not."""
    tasks = [
        Task(f"t{at}", 1.0, (Option(f"o{at}", POOL, work + wait, 0.1, wait_s=wait),))
        for at, (work, wait) in enumerate(stages)
    ]
    first = Task("first", 1.0, (Option("first", POOL, 1.0, 0.1),))
    names = [task.name for task in tasks]
    streams = [Handoff(a, b, 1.0, "b", {("", ""): 0.1}, chunks=float(chunks)) for a, b in pairwise(names)]
    plain = Handoff("first", names[0], 1.0, "b", {("", ""): 0.2})
    return PlacementProblem((first, *tasks), (plain, *streams), (Block("b", 1.0, ("first", *names)),), 1.0)


def followed_s(stages: list[Stage], chunks: int) -> float:
    """When the last chunk leaves the last stage. A stage works on one chunk at a time, when it is there."""
    arrivals = [1.2] * chunks
    ends: list[float] = []
    for work, wait in stages:
        free = arrivals[0] + wait
        ends = []
        for arrived in arrivals:
            free = max(free, arrived) + work / chunks
            ends.append(free)
        arrivals = [end + 0.1 for end in ends]
    return ends[-1]


def time_s(problem: PlacementProblem) -> float:
    decision = whole(problem, {task.name: task.options[0] for task in problem.tasks})
    return placement(problem, decision, Proof(0.0, 0.0)).e2e_s


@given(st.lists(st.integers(0, 20), min_size=2, max_size=5), st.integers(1, 6))
def test_a_pipeline_takes_what_its_chunks_take(work: list[int], chunks: int) -> None:
    stages = [(each / 10, 0.0) for each in work]
    assert time_s(pipeline(stages, chunks)) == pytest.approx(followed_s(stages, chunks))


@given(st.lists(st.tuples(st.integers(0, 20), st.integers(0, 5)), min_size=2, max_size=4), st.integers(1, 6))
def test_waits_are_never_underestimated(times: list[tuple[int, int]], chunks: int) -> None:
    """A stage's wait counts after its first chunk has come; chunks that come meanwhile do not wait again."""
    stages = [(work / 10, wait / 10) for work, wait in times]
    assert time_s(pipeline(stages, chunks)) >= followed_s(stages, chunks) - 1e-9


@given(st.lists(st.integers(1, 20), min_size=2, max_size=4), st.integers(2, 6))
def test_overlap_never_costs_time(work: list[int], chunks: int) -> None:
    stages = [(each / 10, 0.0) for each in work]
    together = pipeline(stages, chunks)
    apart = replace(together, handoffs=tuple(replace(each, chunks=1.0) for each in together.handoffs))
    assert time_s(together) <= time_s(apart) + 1e-9


def test_the_solver_counts_on_overlap() -> None:
    """Two seconds of text and two of speech in four chunks are 2.5 s, so the cheap and slow speaker is in time."""
    text = Task("text", 1.0, (Option("text", POOL, 2.0, 0.1),))
    fast, slow = PoolSpec("fast", "f", 1, 9.0), PoolSpec("slow", "s", 1, 1.0)
    speech = Task("speech", 1.0, (Option("fast", fast, 0.4, 0.1), Option("slow", slow, 2.0, 0.1)))
    stream = Handoff("text", "speech", 1.0, "b", chunks=4.0)
    problem = PlacementProblem((text, speech), (stream,), (Block("b", 1.0, ("text", "speech")),), 1.0, e2e_limit_s=2.6)
    found = solve(problem)
    assert found.choice["speech"] == "slow"
    assert found.e2e_s == pytest.approx(2.5)
    apart = solve(replace(problem, handoffs=(replace(stream, chunks=1.0),)))
    assert apart.choice["speech"] == "fast"
