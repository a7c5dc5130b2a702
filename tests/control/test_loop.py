"""The control loop on live nodes (of this process): it starts, replaces and drains, and nothing is lost meanwhile."""

import asyncio
import time
from dataclasses import replace

import pytest

from tests.serve.python_nodes import PythonFleet, one_step
from weft.control.loop import Loop, slowness
from weft.core.workload import Workload
from weft.policy.scaling import Scaling, ScalingConfig
from weft.runtime.services import PYTHON_KINDS
from weft.runtime.spec import NodeSpec
from weft.serve.agents import ServedAgent
from weft.serve.dispatch import Dispatcher
from weft.serve.run import Asked

TERMS = ScalingConfig(quick_s=0.05, slow_s=0.1, settle_s=0.2, cool_down_s=0.1, start_s=0.0, clear_s=1.0, most=3)


def work(text: str) -> str:
    time.sleep(0.01)
    return text.upper()


async def test_nodes_come_and_go_with_the_load_and_the_dead_are_replaced() -> None:
    base = one_step()
    pool = replace(base.pools[0], utilisation=0.5, batch_limit=4)
    plan = replace(base, pools=(pool,), workload=Workload("test", 20.0))
    dispatcher = Dispatcher(plan, revival_s=5.0)
    fleet = PythonFleet(work, dispatcher.join)
    await fleet.start("python")
    agent = ServedAgent(plan, dispatcher)
    loop = Loop(agent, fleet, {"python": NodeSpec("python", "cpu", PYTHON_KINDS)}, Scaling(plan, TERMS), every_s=0.02)
    running = asyncio.create_task(loop.run())

    async def ask(count: int, gap_s: float) -> list[str]:
        asked: list[asyncio.Task[str]] = []
        for _ in range(count):
            asked.append(asyncio.create_task(one()))
            await asyncio.sleep(gap_s)
        return await asyncio.gather(*asked)

    async def one() -> str:
        return str((await agent.run(Asked({"text": "a"}, lambda _: None))).values[0])

    async def until(count: int) -> None:
        async with asyncio.timeout(5):
            while len(dispatcher.members("python")) != count:
                await asyncio.sleep(0.01)

    try:
        assert set(await ask(120, 0.005)) == {"A"}  # 200 a second: more than two replicas do
        await until(3)
        await fleet.remove(dispatcher.members("python")[-1].client.name)  # one dies
        assert set(await ask(60, 0.005)) == {"A"}
        await until(3)
        await until(1)  # nobody asks any more
        assert agent.failed == 0
        assert set(await ask(3, 0.0)) == {"A"}
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        for client in list(dispatcher.nodes):
            await client.close()
        await fleet.close()


def test_a_pool_is_as_slow_as_its_nodes_beside_the_fastest() -> None:
    assert slowness([]) == 1.0
    assert slowness([3.0]) == slowness([3.0, 3.0]) == 1.0  # what all have in common is the prediction's
    assert slowness([1.0, 10.0]) == pytest.approx(2 / 1.1)
