"""From one plan to another: which pools stay, how the new ones are called, and that no run is lost meanwhile."""

import asyncio
import time
from dataclasses import replace

import pytest

from tests.serve.deployments import split_llm
from tests.serve.python_nodes import PythonFleet, one_step
from weft.control.loop import Loop
from weft.control.moving import Crossing, Mover
from weft.control.replan import asked, differences, kept_pools, named_beside, planned_load, request_of
from weft.control.replanning import Replans
from weft.core.deployment import Deployment
from weft.core.errors import NoPlacementError
from weft.core.message import Message
from weft.core.workload import Slo, Workload
from weft.plan.staffing import scaling_of
from weft.policy.replanning import Estimate, ReplanConfig, Replanning
from weft.policy.scaling import ScalingConfig
from weft.runtime.services import PYTHON_KINDS
from weft.runtime.spec import NodeSpec
from weft.serve.agents import ServedAgent
from weft.serve.dispatch import Dispatcher
from weft.serve.model_calls import with_models
from weft.serve.run import Asked

TERMS = ScalingConfig(quick_s=0.05, slow_s=0.1, settle_s=60.0, cool_down_s=60.0, most=3)
EAGER = ReplanConfig(drift=0.5, settle_s=0.0, every_s=60.0)


def test_pools_that_do_the_same_on_the_same_devices_stay_and_others_get_names_of_their_own() -> None:
    present = split_llm()
    p, d = sorted(present.pools, key=lambda pool: pool.name, reverse=True)
    target = replace(present, pools=(replace(p, replicas=5), replace(d, device="another")))
    assert kept_pools(present, target) == {"P": "P"}
    moved = named_beside(present, target)
    assert {pool.name: pool.device for pool in moved.pools} == {"P": p.device, "D~2": "another"}
    assert moved.route("answer.decode").pool == "D~2"
    again = named_beside(moved, replace(target, pools=(p, d)))
    assert {pool.name for pool in again.pools} == {"P", "D"}
    first, *_, last = differences(present, target)
    assert (first, last) == ("keep P, 5 of it", "drain 1 × D")


def test_what_the_planner_is_asked_is_the_load_as_it_was_seen() -> None:
    plan = replace(split_llm(), slo=Slo("own", ttft_s=0.7), workload=Workload("x", 3.0, {"answer": {"isl": 40.0}}))
    request = asked(request_of(plan), Estimate(9.0, {"answer": {"isl": 55.4, "osl": 12.0}}))
    assert (request.needs.rate_per_s, request.needs.sizes) == (9.0, ("answer.isl=40", "answer.isl=55", "answer.osl=12"))
    assert request.needs.slo_terms() == plan.slo
    assert planned_load(plan).rate_per_s == 3.0


class Moving:
    """An agent on one pool, under control; the planner's answer is another device, or `refused`."""

    def __init__(self, refused: bool = False) -> None:
        base = one_step()
        pool = replace(base.pools[0], batch_limit=4, usd_per_hour=10.0)
        self.plan = replace(base, pools=(pool,), workload=Workload("test", 20.0))
        self.cheaper = replace(
            self.plan,
            pools=(replace(pool, device="cheaper", usd_per_hour=1.0),),
            answer=replace(base.answer, usd_per_hour=1.0),
            workload=Workload("test", 100.0),
        )
        dispatcher = Dispatcher(self.plan, revival_s=5.0)
        crossing = Crossing([dispatcher])
        self.fleet = PythonFleet(self.work, crossing.join)
        self.agent = ServedAgent(self.plan, dispatcher)
        mover = Mover(self.agent, self.fleet, crossing, self.specs, "")
        planner = self.refuse if refused else lambda _: self.cheaper
        self.replans = Replans(Replanning(planned_load(self.plan), EAGER), planner, mover, TERMS)
        first = {spec.name: spec for spec in self.specs(self.plan)}
        self.loop = Loop(self.agent, self.fleet, first, scaling_of(self.plan, TERMS), self.replans, 0.02)

    def refuse(self, _: Estimate) -> Deployment:
        raise NoPlacementError(subject="nobody", problem="is enough", way_out="buy more")

    def work(self, text: str) -> str:
        time.sleep(0.005)
        return text.upper()

    def specs(self, plan: Deployment) -> list[NodeSpec]:
        return [NodeSpec(pool.name, "cpu", PYTHON_KINDS) for pool in plan.pools]

    async def under_load(self, runs: int) -> list[str]:
        await self.fleet.start("python")
        running = asyncio.create_task(self.loop.run())
        asked: list[asyncio.Task[str]] = []
        for _ in range(runs):
            asked.append(asyncio.create_task(self.one()))
            await asyncio.sleep(0.01)
        said = await asyncio.gather(*asked)
        async with asyncio.timeout(5):
            while self.replans.under_way:
                await asyncio.sleep(0.01)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        return said

    async def one(self) -> str:
        return str((await self.agent.run(Asked({"text": "a"}, lambda _: None))).values[0])

    async def close(self) -> None:
        for client in list(self.agent.dispatcher.nodes):
            await client.close()
        await self.fleet.close()


async def test_a_fleet_moves_under_load_and_no_run_is_lost() -> None:
    moving = Moving()
    assert set(await moving.under_load(100)) == {"A"}  # five times what was planned for
    assert moving.agent.failed == 0
    assert moving.agent.deployment.pools[0].device == "cheaper"
    assert {name.partition("#")[0] for name in moving.fleet.nodes} == {"python~2"}, "the old nodes have ended"
    (move,) = [each for each in moving.agent.history.decisions if each.change == "move"]
    assert "start 1 × python (cheaper" in move.why and "drain 1 × python" in move.why
    await moving.close()


async def test_models_by_name_move_with_their_agent() -> None:
    plan = split_llm()
    (block,) = plan.program.blocks
    named = tuple(replace(step, attributes={**step.attributes, "model": "m"}) for step in block.steps)
    plan = replace(plan, program=replace(plan.program, blocks=(replace(block, steps=named),)))
    old = Dispatcher(plan, revival_s=60.0)
    agent = ServedAgent(plan, old)
    model = with_models([agent])["m"]
    assert model.dispatcher is old
    target = named_beside(plan, replace(plan, pools=tuple(replace(pool, device="another") for pool in plan.pools)))
    fresh = Dispatcher(target)
    running = asyncio.create_task(model.run(Asked({"prompt": (Message("user", "?"),)}, lambda _: None)))  # it waits
    await asyncio.sleep(0)
    agent.switch(target, fresh)
    assert model.dispatcher is fresh and {pool.name for pool in model.deployment.pools} == {"P~2", "D~2"}
    assert agent.runs_on(old) == 1, "its old nodes are not ended under it"
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert agent.runs_on(old) == 0


async def test_where_the_planner_has_no_answer_all_stays() -> None:
    moving = Moving(refused=True)
    assert set(await moving.under_load(60)) == {"A"}
    assert moving.agent.deployment is moving.plan
    await moving.close()


async def test_a_node_that_does_not_start_ends_the_move() -> None:
    moving = Moving()
    await moving.fleet.start("python")

    async def refuse(spec: NodeSpec) -> None:
        raise NoPlacementError(subject=spec.name, problem="has no room", way_out="none")

    moving.fleet.add = refuse  # type: ignore[method-assign, assignment]
    with pytest.raises(NoPlacementError, match="has no room"):
        await moving.replans.mover.move(moving.cheaper)
    assert moving.agent.deployment is moving.plan and await moving.one() == "A"
    assert len(moving.replans.mover.crossing.dispatchers) == 1
    await moving.close()
