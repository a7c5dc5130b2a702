"""A run that is cut off anywhere and goes on ends as one that was not, and no completed step runs twice."""

import itertools
from collections.abc import Callable, Mapping

from hypothesis import given
from hypothesis import strategies as st

from tests.serve.deployments import llm_program, loop_program
from tests.serve.runs.conftest import acting
from weft.core.program import Program
from weft.policy.agent_run import AgentRun, Completed, Ready
from weft.runtime.values import KvHandle, Value
from weft.serve.runs.replay import replay
from weft.serve.runs.run import Kind, LogEvent

PYTHON: Mapping[str, Callable[..., Value]] = {
    "left": str.upper,
    "right": str.upper,
    "join": lambda left, right: left + right,
    "grow": lambda text: text + "!",
    "more": lambda text: int(len(text) < 8),
}


def work(ready: Ready) -> Completed:
    return Completed(ready.step.name, ready.visit, (PYTHON[ready.step.name](*ready.inputs),))


def end(number: int, event: Completed) -> LogEvent:
    return LogEvent(number, Kind.STEP_ENDED, 0.0, event.step, event.visit, event.outputs)  # pyright: ignore


def drive(program: Program, done: tuple[Completed, ...], pick: Callable[[int], int]) -> AgentRun:
    """To its end, whichever of the ready steps ends first."""
    run, ready = AgentRun.resume(program, {"text": "ab"}, done)
    while run.result is None:
        ready += run.complete(work(ready.pop(pick(len(ready)) % len(ready))))
    return run


@given(st.integers(0, 20), st.lists(st.integers(0, 7), min_size=40, max_size=40))
def test_a_run_cut_off_anywhere_ends_the_same(cut: int, picks: list[int]) -> None:
    program, choose = loop_program(), itertools.cycle(picks)
    whole = drive(program, (), lambda _: next(choose))
    events = [end(number, event) for number, event in enumerate(whole.events)][:cut]
    found = replay(program, {"text": "ab"}, events)
    assert list(found.done) == whole.events[:cut]
    again = drive(program, found.done, lambda _: next(choose))
    assert again.result == whole.result
    assert len(again.events) == len(whole.events)


def test_a_cache_that_nobody_used_is_made_again() -> None:
    program, inputs = llm_program(), {"chat": "hello"}
    first, second = KvHandle("old", 1, 5, 9), KvHandle("old", 2, 5, 9)
    events = [
        end(0, Completed("answer.prefill", 0, (first,))),
        end(1, Completed("answer.kv", 0, (second,))),
        end(2, Completed("answer.decode", 0, ("hi",))),
    ]
    assert [len(replay(program, inputs, events[:n]).done) for n in range(4)] == [0, 0, 0, 3]
    again = [*events[:2], *(end(2 + n, Completed(e.step, e.visit, e.values)) for n, e in enumerate(events))]
    assert [event.step for event in replay(program, inputs, again).done] == [each.step for each in events]


def test_a_tool_that_was_cut_off_is_told_unless_it_may_run_again() -> None:
    drafted = end(0, Completed("draft", 0, ("A",)))
    began = LogEvent(1, Kind.STEP_STARTED, 0.0, "send", 0)
    sent = end(2, Completed("send", 0, ("sent",)))
    for effect, cut in (("writes", ("send",)), ("idempotent", ()), ("reads", ())):
        program = acting(effect).program
        assert replay(program, {"text": "a"}, (drafted, began)).cut == cut
        assert replay(program, {"text": "a"}, (drafted, began, sent)).cut == ()
        assert replay(program, {"text": "a"}, (drafted,)).cut == ()
