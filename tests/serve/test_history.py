"""What control learns of a load from the runs that ended: sizes of calls, chances of choices, times of tools."""

from dataclasses import replace

import pytest

from tests.serve.deployments import deployment, loop_program, route, split_llm
from weft.core.deployment import Deployment
from weft.core.metrics import RequestRecord, StepRecord
from weft.core.program import StepKind
from weft.serve.history import SEEN, History


def record(*steps: StepRecord) -> RequestRecord:
    return RequestRecord("agent", steps, 1.0)


def looping() -> Deployment:
    program = loop_program()
    return deployment(program, tuple(route(step.name, "P") for step in program.steps))


def test_a_choice_is_known_after_enough_runs() -> None:
    plan, history = looping(), History()
    choice = next(step.name for step in plan.program.steps if step.kind is StepKind.CHOOSE)
    for run in range(SEEN):
        assert not history.sizes
        history.ended(plan, record(StepRecord(choice, 0, "n", "d", 0.0, 0.1, label=int(run % 4 == 0))))
    assert history.sizes == {choice: pytest.approx({"chance_0": 0.75, "chance_1": 0.25})}


def test_calls_count_whole_replies_and_tools_only_times_that_are_their_own() -> None:
    plan, history = split_llm(), History()
    block = plan.program.entry
    tools = tuple(replace(block.steps[0], name=name, kind=StepKind.TOOL) for name in ("slow", "quick"))
    program = replace(plan.program, blocks=(replace(block, steps=(*block.steps, *tools)),))
    plan = replace(plan, program=program)
    for _ in range(SEEN):
        history.ended(
            plan,
            record(
                StepRecord("answer.prefill", 0, "n", "d", 0.0, 0.1, 0.1, input_tokens=30, output_tokens=1),
                StepRecord("answer.decode", 0, "n", "d", 0.1, 0.5, 0.1, output_tokens=9),
                StepRecord("slow", 0, "n", "d", 0.5, 0.75),
                StepRecord("quick", 0, "n", "d", 0.75, 0.751),
            ),
        )
    assert history.sizes == {"answer": {"isl": 30.0, "osl": 10.0}, "slow": {"core_s": 0.25}}
