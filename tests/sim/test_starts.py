"""What a server does before a prompt is let in, and prompts that have a step to themselves."""

from dataclasses import replace

import pytest

from tests.sim.deployments import aggregated_chat, flat_pace, split_chat
from tests.sim.loads import records
from weft.sim.simulate import simulate
from weft.traces.request import CallSize, Request

PACE = flat_pace(decode_s=0.01, token_s=1e-4, context_s=0.0, fixed_s=0.005)


def ttft_s(deployment, *requests: Request) -> float:  # type: ignore[no-untyped-def]
    return simulate(deployment, list(requests)).summary.calls[0].ttft_s.max


def test_a_start_comes_before_the_prompt() -> None:
    """0.02 s, half of the prompt's own 0.005 + 100 · 1e-4 s, and then that."""
    alone = Request(0.0, (CallSize(100, 3),))
    assert ttft_s(aggregated_chat(pace=PACE), alone) == pytest.approx(0.015, abs=1e-12)
    assert ttft_s(aggregated_chat(pace=PACE, start_ms=20, start_percent=50), alone) == pytest.approx(0.0425, abs=1e-12)


def test_a_start_of_long_prompts_counts_their_chunks() -> None:
    sized = {"start_percent": 100, "step_tokens": 64}
    alone = Request(0.0, (CallSize(150, 3),))
    assert ttft_s(aggregated_chat(pace=PACE, **sized), alone) == pytest.approx(2 * (3 * 0.005 + 0.015), abs=1e-12)


def test_only_what_is_not_cached_has_a_start() -> None:
    """The second prompt finds 96 of its 100 tokens."""
    blocks = CallSize(100, 2, (1, 2, 3, 4, 5, 6), 16, 100)
    deployment = aggregated_chat(replicas=1, pace=PACE, start_percent=100)
    heard, _ = records(deployment, [Request(0.0, (blocks,)), Request(1.0, (blocks,))])
    times = [record.steps[0].ended_s for _, record in heard]
    assert times == pytest.approx([0.03, 2 * (0.005 + 4e-4)], abs=1e-12)


def test_prompts_by_themselves_are_quicker() -> None:
    """Its second chunk shares the step with nobody either; a later prompt does, with the first one's decode."""
    deployment = aggregated_chat(replicas=1, pace=replace(PACE, alone=0.5, mixed_s=0.0))
    heard, _ = records(deployment, [Request(0.0, (CallSize(100, 30),)), Request(0.0076, (CallSize(100, 2),))])
    first = {number: record.steps[0].ended_s for number, record in heard}
    assert first[0] == pytest.approx(0.0075, abs=1e-12)
    assert first[1] == pytest.approx(0.0075 + 0.01 + 0.005 + 101e-4 - 0.0076, abs=1e-12)


def test_a_cache_that_moves_starts_once() -> None:
    alone = Request(0.0, (CallSize(100, 3),))
    bare, started = (simulate(split_chat(1, 1, PACE, start_ms=ms), [alone]).summary for ms in (0, 20))
    assert started.calls[0].ttft_s.max - bare.calls[0].ttft_s.max == pytest.approx(0.02, abs=1e-12)
    assert started.e2e_s.max - bare.e2e_s.max == pytest.approx(0.02, abs=1e-12)
