"""Remaining time against walks over many runs and by hand; patience bounds waiting under any overload."""

import random
from heapq import heappop, heappush

import pytest
from hypothesis import given
from hypothesis import strategies as st

from weft.core.errors import ProgramError
from weft.core.program import Block, Program, Step, StepKind, Target, Terminator
from weft.policy.agent_run import AgentRun, Completed
from weft.policy.priority import CriticalPath, Priority, PriorityConfig


def _step(name: str, *inputs: str, kind: StepKind = StepKind.APPLY) -> Step:
    return Step(name, kind, inputs, (name,), {})


def _loop(chance: float, at_most: int | None) -> Program:
    return Program(
        "loop",
        (
            Block("entry", ("q",), (_step("ask", "q"),), Terminator((Target("think", ("ask",), 1.0),))),
            Block(
                "think",
                ("chat",),
                (_step("reply", "chat"), _step("more", "reply", kind=StepKind.CHOOSE)),
                Terminator((Target("end", (), 1 - chance), Target("search", (), chance)), "more", at_most=at_most),
            ),
            Block("search", (), (_step("found", "reply"),), Terminator((Target("think", ("found",), 1.0),))),
            Block("end", (), (_step("say", "reply"),), Terminator(returns=("say",))),
        ),
    )


STEP_S = {"ask": 1.0, "reply": 2.0, "more": 0.5, "found": 4.0, "say": 3.0}


def test_a_fan_counts_its_longest_branch() -> None:
    steps = (_step("join", "a", "c"), _step("a", "q"), _step("b", "q"), _step("c", "b"))
    program = Program("fan", (Block("entry", ("q",), steps, Terminator(returns=("join",))),))
    path = CriticalPath(program, {"a": 5.0, "b": 2.0, "c": 4.0, "join": 1.0})
    assert path.remaining_s == {"a": 6.0, "b": 7.0, "c": 5.0, "join": 1.0}
    assert path.total_s == 7.0


@pytest.mark.parametrize(("chance", "at_most"), [(0.6, None), (0.6, 2), (1.0, 3), (0.0, 1), (0.9, 0)])
def test_expected_time_is_the_mean_over_runs(chance: float, at_most: int | None) -> None:
    program, draw = _loop(chance, at_most), random.Random(0)
    total, runs = 0.0, 4000
    for _ in range(runs):
        run = AgentRun(program, {"q": 0})
        ready = run.start()
        while ready:
            now = ready.pop()
            total += STEP_S[now.step.name]
            value = int(draw.random() < chance) if now.step.kind is StepKind.CHOOSE else 0
            ready += run.complete(Completed(now.step.name, now.visit, (value,)))
    assert CriticalPath(program, STEP_S).total_s == pytest.approx(total / runs, rel=0.05)


@pytest.mark.parametrize(("chance", "at_most"), [(0.5, None), (1.0, 2)])
def test_remaining_time_by_hand(chance: float, at_most: int | None) -> None:
    trips = 1.0 if at_most is None else 2.0
    path = CriticalPath(_loop(chance, at_most), STEP_S)
    assert path.total_s == pytest.approx(1 + 2.5 * (trips + 1) + 4 * trips + 3)
    assert path.remaining_s["say"] == 3.0


def test_a_step_near_the_end_of_an_old_run_goes_before_the_start_of_a_young_one() -> None:
    priority = Priority(CriticalPath(_loop(0.5, None), STEP_S), e2e_s=20.0)
    assert priority.rank("ask", 100.0, 100.0) > priority.rank("found", 95.0, 101.0)
    assert priority.rank("ask", 100.0, 100.0) == pytest.approx(120.0 - 13.0)


@given(
    st.lists(st.tuples(st.sampled_from(list(STEP_S)), st.floats(0, 500), st.floats(0, 200)), max_size=30),
    st.floats(0.1, 50),
    st.floats(0, 1000),
)
def test_nobody_is_overtaken_by_what_comes_long_after(
    steps: list[tuple[str, float, float]], patience_s: float, e2e_s: float
) -> None:
    priority = Priority(CriticalPath(_loop(0.5, None), STEP_S), e2e_s, PriorityConfig(patience_s))
    ranked = [(priority.rank(name, started, started + age), started + age) for name, started, age in steps]
    for rank, ready_s in ranked:
        for other, later_s in ranked:
            assert later_s <= ready_s + 2 * patience_s or other > rank


def test_no_starvation_under_endless_overload() -> None:
    """Twice as much urgent work as the server can do; a lax step waits no longer than what came within its patience."""
    path = CriticalPath(_loop(0.5, None), STEP_S)
    urgent = Priority(path, e2e_s=0.0, config=PriorityConfig(10.0))
    lax = Priority(path, e2e_s=1e6, config=PriorityConfig(10.0))
    queue = [(lax.rank("say", 0.0, 0.0), -1)]
    served_s: float | None = None
    arrivals = iter([(index * 0.5, index) for index in range(1000)])
    upcoming = next(arrivals)
    for now in range(400):  # one step a second
        while upcoming[0] <= now:
            heappush(queue, (urgent.rank("say", upcoming[0], upcoming[0]), upcoming[1]))
            upcoming = next(arrivals)
        if heappop(queue)[1] == -1:
            served_s = float(now)
            break
    assert served_s is not None
    assert served_s <= 2 * 20.0 + 1, "all that is ready by 2 · patience is served by twice that time"


def test_what_cannot_be_timed_is_refused() -> None:
    with pytest.raises(ProgramError, match=r"no time for steps \['say'\]"):
        CriticalPath(_loop(0.5, None), {name: 1.0 for name in STEP_S if name != "say"})
    with pytest.raises(ProgramError, match="never left"):
        CriticalPath(_loop(1.0, None), STEP_S)
    round_trip = (_step("a", "b"), _step("b", "a"))
    with pytest.raises(ProgramError, match="wait for each other"):
        CriticalPath(Program("p", (Block("entry", (), round_trip, Terminator()),)), {"a": 1.0, "b": 1.0})
