"""The door refuses what would be late, says when to come back, and learns how predictions turn out."""

from dataclasses import replace
from typing import cast

import pytest

from tests.serve.deployments import split_llm
from weft.core.errors import OverloadError
from weft.core.message import Message
from weft.core.metrics import RequestRecord, StepRecord
from weft.core.workload import Slo
from weft.policy.workers import Request
from weft.serve.admitting import Door
from weft.serve.dispatch import Dispatcher

PLAN = replace(split_llm(), slo=Slo("test", ttft_s=0.5))
INPUTS = {"chat": (Message("user", "a" * 396),)}  # 400 bytes with its role: 100 tokens


class Predicting(Dispatcher):
    """Of nodes that read a prompt in `prefill_s` a token and have `queued` tokens before it."""

    queued = 0

    def predicted(self, step: str, request: Request) -> tuple[float, float] | None:
        ttft_s = (self.queued + request.prompt) * 0.001
        return ttft_s, ttft_s + request.output * 0.01


async def test_what_would_be_late_is_told_when_to_come_back() -> None:
    dispatcher = Predicting(PLAN)
    door = Door(PLAN, dispatcher)
    door.admit(INPUTS)
    dispatcher.queued = 5000
    with pytest.raises(OverloadError, match=r"TTFT 5\.1 s expected, bound is 0\.5 s; try again in 5 s") as refused:
        door.admit(INPUTS)
    assert cast("OverloadError", refused.value).retry_after_s == 5.0


async def test_it_learns_that_predictions_are_too_good() -> None:
    dispatcher = Predicting(PLAN)
    dispatcher.queued = 300
    door = Door(PLAN, dispatcher)
    door.admit(INPUTS)
    late = StepRecord("answer.prefill", 0, "P", "cpu", 1.0, 4.0, first_output_s=3.0)
    for _ in range(30):
        door.turned_out(0.4, RequestRecord("chat", (late,), 5.0))
    with pytest.raises(OverloadError):
        door.admit(INPUTS)


async def test_who_waits_for_a_node_is_told_nothing() -> None:
    Door(PLAN, Dispatcher(PLAN)).admit(INPUTS)
