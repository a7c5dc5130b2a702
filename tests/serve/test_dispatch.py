"""Several nodes a pool: who gets what, who is left out, and what is done again."""

import asyncio
import contextlib
import threading
from collections.abc import AsyncGenerator, Callable

import pytest

from tests.serve.python_nodes import PythonFleet, one_step
from weft.core.errors import DeploymentError, NodeDiedError, OverloadError
from weft.policy.agent_run import Ready
from weft.policy.hedging import HedgeConfig
from weft.policy.workers import Request
from weft.serve.calls import Calls
from weft.serve.dispatch import Dispatcher, pool_of, replica_name
from weft.serve.run import run_agent

PLAN = one_step()
STEP = PLAN.program.steps[0]


@contextlib.asynccontextmanager
async def fleet(
    work: Callable[[str], str], *names: str, revival_s: float = 0.0
) -> AsyncGenerator[tuple[PythonFleet, Dispatcher]]:
    dispatcher = Dispatcher(PLAN, revival_s=revival_s)
    running = PythonFleet(work, dispatcher.join)
    clients = await running.start(*names)
    try:
        yield running, dispatcher
    finally:
        for client in [*clients, *dispatcher.nodes]:
            await client.close()
        await running.close()


async def worked(dispatcher: Dispatcher, text: str = "x") -> tuple[str, str]:
    """The answer, and the node that gave it."""
    outcome = await run_agent(PLAN, dispatcher, {"text": text}, lambda _: None)
    return str(outcome.values[0]), outcome.record.steps[0].node


def test_replicas_have_names_that_tell_their_pool() -> None:
    assert [replica_name("p", number) for number in range(3)] == ["p", "p#1", "p#2"]
    assert {pool_of(replica_name("p", number)) for number in range(3)} == {"p"}


async def test_work_is_spread_and_what_is_drained_gets_none() -> None:
    async with fleet(str.upper, "python", "python#1", "python#2") as (_, dispatcher):
        told = await asyncio.gather(*(worked(dispatcher) for _ in range(30)))
        assert {answer for answer, _ in told} == {"X"}
        counts = [sum(node == name for _, node in told) for name in ("python", "python#1", "python#2")]
        assert min(counts) >= 5
        dispatcher.drain("python#1")
        assert "python#1" not in {node for _, node in [await worked(dispatcher) for _ in range(10)]}
        assert all(node.under_way == 0 for node in dispatcher.nodes.values())


async def test_a_death_is_not_noticed_while_another_is_there() -> None:
    held = threading.Event()

    def work(text: str) -> str:
        if text == "hold" and not held.is_set():
            held.set()
            threading.Event().wait(0.3)
        return text.upper()

    async with fleet(work, "python", "python#1") as (running, dispatcher):
        asked = asyncio.create_task(worked(dispatcher, "hold"))
        while not held.is_set():
            await asyncio.sleep(0.01)
        at = next(node.client.name for node in dispatcher.nodes.values() if node.under_way)
        await running.remove(at)
        answer, node = await asked
        assert (answer, dispatcher.deaths) == ("HOLD", 1)
        assert node != at


async def test_a_step_waits_for_a_node_that_comes_back() -> None:
    async with fleet(str.upper, "python", revival_s=5.0) as (running, dispatcher):
        await running.remove("python")
        asked = asyncio.create_task(worked(dispatcher))
        await asyncio.sleep(0.05)
        assert not asked.done()
        await running.start("python")
        assert await asked == ("X", "python")


async def test_without_patience_the_last_death_is_told() -> None:
    async with fleet(str.upper, "python") as (running, dispatcher):
        await running.remove("python")
        with pytest.raises(NodeDiedError, match="python"):
            await worked(dispatcher)
    with pytest.raises(DeploymentError, match="placed on pool 'python'"):
        await worked(Dispatcher(PLAN))


async def test_what_refuses_is_left_alone_for_a_while() -> None:
    async with fleet(str.upper, "python", "python#1") as (running, dispatcher):
        draining = running.nodes["python"]
        asyncio.create_task(draining.drain())  # it refuses, and nobody told the dispatcher  # noqa: RUF006
        await asyncio.sleep(0)
        assert {node for _, node in [await worked(dispatcher) for _ in range(20)]} == {"python#1"}
        refusing = next(node for node in dispatcher.nodes.values() if node.client.name == "python")
        assert refusing.circuit.is_open


async def test_retries_end_with_their_budget() -> None:
    async with fleet(str.upper, "python") as (running, dispatcher):
        asyncio.create_task(running.nodes["python"].drain())  # noqa: RUF006
        await asyncio.sleep(0)
        for _ in range(30):
            with pytest.raises(OverloadError, match="draining"):
                await worked(dispatcher)
        assert not dispatcher.retries.may_retry()


async def test_a_slow_answer_is_asked_for_twice() -> None:
    slow, let_go = threading.Event(), threading.Event()

    def work(text: str) -> str:
        if text == "slow" and not slow.is_set():
            slow.set()
            let_go.wait(30.0)
        return text.upper()

    async with fleet(work, "python", "python#1") as (_, dispatcher):
        dispatcher.hedging("work").__init__(HedgeConfig(learn=5, least_s=0.05, share=1.0))
        for _ in range(10):
            await worked(dispatcher)
        try:
            assert (await worked(dispatcher, "slow"))[0] == "SLOW"
            assert slow.is_set()
            assert not let_go.is_set()  # the first is still at it
        finally:
            let_go.set()


async def test_prompts_that_begin_alike_go_to_one_node() -> None:
    async with fleet(str.upper, "python", "python#1", "python#2") as (_, dispatcher):
        request = Request(64, 1, hashes=(1, 2, 3, 4))
        first = await dispatcher.choose(STEP, request)
        first.cache.touch(request.hashes)
        assert {(await dispatcher.choose(STEP, request)).number for _ in range(6)} == {first.number}


async def test_a_tool_that_writes_is_not_run_twice() -> None:
    writes = one_step(effect="writes")
    async with fleet(str.upper, "python", "python#1") as (_, dispatcher):
        calls = Calls(dispatcher, lambda *_: None, lambda *_: None)
        result = await calls.run(Ready(writes.program.steps[0], 0, ("a",)), lambda *_: None)
        assert result[1].outputs == ("A",)
