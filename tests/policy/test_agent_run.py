"""AgentRun is a fold over its events: same events, same state; bounds end loops; parallel steps start at once."""

import pytest

from weft.core.errors import ProgramError
from weft.core.program import Block, Program, Step, StepKind, Target, Terminator
from weft.policy.agent_run import AgentRun, Completed, Ready


def _step(name: str, *inputs: str, kind: StepKind = StepKind.APPLY) -> Step:
    return Step(name, kind, inputs, (name,), {})


LOOP = Program(
    "loop",
    (
        Block("entry", ("question",), (_step("ask", "question"),), Terminator((Target("think", ("ask",), 1.0),))),
        Block(
            "think",
            ("chat",),
            (_step("reply", "chat"), _step("more", "reply", kind=StepKind.CHOOSE)),
            Terminator((Target("end", (), 0.5), Target("search", (), 0.5)), "more", at_most=2),
        ),
        Block("search", (), (_step("found", "reply"),), Terminator((Target("think", ("found",), 1.0),))),
        Block("end", (), (), Terminator(returns=("reply",))),
    ),
)


def _drive(run: AgentRun, ready: list[Ready], labels: list[int]) -> None:
    """Completes each ready step with a value that names its visit; CHOOSE takes the next label."""
    while ready:
        now = ready.pop(0)
        value: object = labels.pop(0) if now.step.kind is StepKind.CHOOSE else f"{now.step.name}{now.visit}"
        ready += run.complete(Completed(now.step.name, now.visit, (value,)))


def test_a_loop_runs_until_the_choice_leaves_it() -> None:
    run = AgentRun(LOOP, {"question": "q"})
    _drive(run, run.start(), [1, 0])
    assert run.result == ("reply1",)
    assert [event.step for event in run.events] == ["ask", "reply", "more", "found", "reply", "more"]


def test_a_used_up_bound_takes_the_first_target() -> None:
    run = AgentRun(LOOP, {"question": "q"})
    _drive(run, run.start(), [1, 1, 1])
    assert run.result == ("reply2",)


@pytest.mark.parametrize("length", range(7))
def test_resume_after_any_prefix_of_events_ends_the_same(length: int) -> None:
    whole = AgentRun(LOOP, {"question": "q"})
    _drive(whole, whole.start(), [1, 0])
    run, ready = AgentRun.resume(LOOP, {"question": "q"}, whole.events[:length])
    labels = [event.outputs[0] for event in whole.events[length:] if event.step == "more"]
    _drive(run, ready, [label for label in labels if isinstance(label, int)])
    assert run.result == whole.result
    assert run.events == whole.events


def test_independent_steps_start_together_and_a_join_waits_for_both() -> None:
    steps = (_step("a", "q"), _step("b", "q"), _step("join", "a", "b"))
    run = AgentRun(Program("fan", (Block("entry", ("q",), steps, Terminator(returns=("join",))),)), {"q": 1})
    assert [ready.step.name for ready in run.start()] == ["a", "b"]
    assert run.complete(Completed("b", 0, ("B",))) == []
    (join,) = run.complete(Completed("a", 0, ("A",)))
    assert join.inputs == ("A", "B")


@pytest.mark.parametrize(
    ("event", "problem"),
    [
        (Completed("ask", 1, ("x",)), "visit 1, which is not running"),
        (Completed("reply", 0, ("x",)), "not running"),
        (Completed("ask", 0, ("x", "y")), "2 outputs, 1 are declared"),
    ],
)
def test_wrong_completions_are_refused(event: Completed, problem: str) -> None:
    run = AgentRun(LOOP, {"question": "q"})
    run.start()
    with pytest.raises(ProgramError, match=problem):
        run.complete(event)


def test_wrong_inputs_and_labels_are_refused() -> None:
    with pytest.raises(ProgramError, match="takes inputs"):
        AgentRun(LOOP, {"answer": "q"})
    run = AgentRun(LOOP, {"question": "q"})
    with pytest.raises(ProgramError, match="the choice gave 7"):
        _drive(run, run.start(), [7])
