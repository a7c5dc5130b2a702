"""Nodes on a local Ray cluster of four machines with devices of their own: placed, asked, lost, placed anew."""

import asyncio
import os
import secrets
import time
from collections.abc import AsyncGenerator, Iterator, Mapping
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any, cast

import msgspec
import pytest

from tests.runtime import checkpoints
from tests.serve.deployments import split_llm
from weft.control.loop import Loop
from weft.control.moving import Crossing, Mover
from weft.core.deployment import Deployment
from weft.core.errors import CheckpointError, InputError, NodeDiedError
from weft.core.message import Message
from weft.core.program import StepKind
from weft.policy.scaling import Scaling, ScalingConfig
from weft.runtime.client import NodeClient
from weft.runtime.spec import NodeSpec
from weft.runtime.transport.choose import node_transport
from weft.serve.agents import ServedAgent
from weft.serve.dispatch import Dispatcher
from weft.serve.run import Asked, run_agent

if find_spec("ray") is None:
    pytest.skip("the extra `ray` is not installed", allow_module_level=True)

from weft.control.backends import ray_cluster
from weft.control.backends.ray_cluster import RayCluster, RayNode
from weft.control.backends.ray_fleet import RayFleet

CHAT = (Message("user", "What does an H100 cost?"),)
KINDS = {"P": (StepKind.PREFILL,), "D": (StepKind.KV_TRANSFER, StepKind.DECODE)}
MACHINES: tuple[Mapping[str, float], ...] = ({"h100-sxm": 1}, {"gaudi-3": 1}, {"gaudi-3": 1})
SMALL = 80 * 1024**2


@pytest.fixture(scope="module")
def machines() -> Iterator[tuple[Any, list[Any]]]:
    """A cluster whose head has no device, and its other machines; all want a token."""
    from ray.cluster_utils import Cluster

    os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)
    head = {"num_cpus": 1, "object_store_memory": SMALL, "include_dashboard": False}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    others = [cluster.add_node(num_cpus=2, resources=has, object_store_memory=SMALL) for has in MACHINES]
    yield cluster, others
    cluster.shutdown()
    del os.environ["RAY_AUTH_TOKEN"]


@pytest.fixture(scope="module")
def model_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return checkpoints.chat_model(tmp_path_factory.mktemp("model"))


@pytest.fixture
async def ray(machines: tuple[Any, list[Any]]) -> AsyncGenerator[RayCluster, None]:
    async with RayCluster(machines[0].address) as cluster:
        yield cluster


def spec(name: str, secret: bytes, model_dir: Path) -> NodeSpec:
    return NodeSpec(name, "cpu", KINDS[name], secret.hex(), model_dir=str(model_dir))


async def test_a_pool_gets_one_more_node_on_another_machine(ray: RayCluster, model_dir: Path) -> None:
    """As `weft serve --ray --control` asks for it."""
    pool = replace(split_llm().pools[0], name="D", device="gaudi-3")
    joined = list[NodeClient]()
    specs = [spec("D", secrets.token_bytes(32), model_dir)]
    fleet = RayFleet(specs, [pool], ray, emulated=True, on_join=joined.append)
    async with fleet:
        more = await fleet.add(msgspec.structs.replace(fleet.specs[0], name="D#1"))
        assert [client.name for client in joined] == ["D", "D#1"]
        assert more.info.kinds == KINDS["D"]
        await fleet.remove("D#1")
        again = await fleet.add(msgspec.structs.replace(fleet.specs[0], name="D#1"))  # its place was given back
        assert again.name == "D#1"


async def test_a_fleet_moves_to_other_machines_and_no_run_is_lost(
    ray: RayCluster, machines: tuple[Any, list[Any]], model_dir: Path
) -> None:
    """As `weft serve --ray --control --replan` does it: the decodes go to another kind of device."""
    from ray import available_resources

    secret, base = secrets.token_bytes(32), split_llm()
    pools = [replace(pool, device="gaudi-3", replicas=1) for pool in base.pools]
    plan = replace(base, pools=tuple(pools))
    target = replace(plan, pools=tuple(replace(p, device="h100-sxm") if p.name == "D" else p for p in pools))

    def specs(of: Deployment) -> list[NodeSpec]:
        return [msgspec.structs.replace(spec(pool.name[0], secret, model_dir), name=pool.name) for pool in of.pools]

    dispatcher = Dispatcher(plan, revival_s=5.0)
    crossing = Crossing([dispatcher])
    async with RayFleet(specs(plan), plan.pools, ray, emulated=True, on_join=crossing.join) as fleet:
        agent = ServedAgent(plan, dispatcher)
        ended, said = asyncio.Event(), list[object]()

        async def asking() -> None:
            while not ended.is_set():
                said.append((await agent.run(Asked({"chat": CHAT}, lambda _: None))).values)

        asked = [asyncio.create_task(asking()) for _ in range(2)]
        moved, first = await Mover(agent, fleet, crossing, specs, secret.hex()).move(target)
        since = len(said)
        while len(said) < since + 2:
            await asyncio.sleep(0.01)
        ended.set()
        await asyncio.gather(*asked)
        assert {pool.name: pool.device for pool in moved.pools} == {"P": "gaudi-3", "D~2": "h100-sxm"}
        assert set(first) == set(fleet.clients) == {"P", "D~2"}
        assert len(set(said)) == 1 and agent.failed == 0
        async with asyncio.timeout(10):
            while available_resources().get("gaudi-3") != 1:  # its place was given back
                await asyncio.sleep(0.1)


async def test_a_deployment_grows_and_shrinks_as_its_plan_says_and_no_run_is_lost(
    ray: RayCluster, machines: tuple[Any, list[Any]], model_dir: Path
) -> None:
    """As `weft serve --ray --control` does it: a plan by which the decodes need two nodes, then one by which one does.
    The rate stands still here, so that how busy this machine is decides nothing."""
    secret, base = secrets.token_bytes(32), split_llm()
    devices = {"P": "h100-sxm", "D": "gaudi-3"}

    def planned(utilisation: float) -> Deployment:
        pools = (replace(pool, device=devices[pool.name], utilisation=0.5) for pool in base.pools)
        return replace(base, pools=tuple(replace(p, utilisation=utilisation) if p.name == "D" else p for p in pools))

    terms = ScalingConfig(quick_s=1e9, slow_s=1e9, clear_s=1e9, settle_s=0.0, cool_down_s=0.0, start_s=0.0, most=2)
    plan, before = planned(0.5), keepers()
    dispatcher, ended, said = Dispatcher(plan, revival_s=5.0), asyncio.Event(), list[object]()
    specs = [spec(pool.name, secret, model_dir) for pool in plan.pools]
    async with RayFleet(specs, plan.pools, ray, emulated=True, on_join=dispatcher.join) as fleet:
        agent = ServedAgent(plan, dispatcher)
        first = {each.name: each for each in fleet.specs}
        loop = Loop(agent, fleet, first, Scaling(planned(1.5), terms), every_s=0.05)
        assert len(keepers() - before) == 2

        async def asking() -> None:
            while not ended.is_set():
                said.append((await agent.run(Asked({"chat": CHAT}, lambda _: None))).values)

        async def until(count: int) -> None:
            async with asyncio.timeout(60):
                while len(dispatcher.members("D")) != count or len(keepers() - before) != 1 + count:
                    await asyncio.sleep(0.05)
            since = len(said)
            while len(said) < since + 4:
                await asyncio.sleep(0.01)

        asked = [asyncio.create_task(asking()) for _ in range(2)]
        running = asyncio.create_task(loop.run())
        await until(2)
        assert set(fleet.clients) == {"P", "D", "D#1"}
        places = [await node.machine() for name, node in fleet._nodes.items() if name != "P"]  # pyright: ignore
        assert len(set(places)) == 2, "each on a machine of its own"
        loop.scaling = Scaling(planned(0.5), terms)
        await until(1)
        ended.set()
        await asyncio.gather(*asked)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        assert len(set(said)) == 1 and agent.failed == 0
        assert set(agent.history.actions.items()) == {(("D", "start"), 1), (("D", "drain"), 1)}
    assert keepers() == before, "all was given back"


def keepers() -> set[str]:
    """Ray's actors that live and keep a node."""
    from ray._private.state import actors

    known = cast("dict[str, dict[str, str]]", actors())
    return {key for key, each in known.items() if (each["State"], each["ActorClassName"]) == ("ALIVE", "NodeKeeper")}


async def test_a_lost_machine_is_found_and_its_node_placed_anew(
    ray: RayCluster, machines: tuple[Any, list[Any]], model_dir: Path
) -> None:
    secret = secrets.token_bytes(32)
    transport = node_transport("auto", secret)

    async def started(name: str, device: str) -> tuple[RayNode, NodeClient]:
        node = await ray.start(spec(name, secret, model_dir), {device: 1})
        return node, await node.connect(transport, 60)

    (prefill, p), (decode, d) = await asyncio.gather(started("P", "h100-sxm"), started("D", "gaudi-3"))
    assert not p.address.startswith("127."), "other machines reach it"
    whole = await run_agent(split_llm(), {"P": p, "D": d}, {"chat": CHAT}, lambda _: None)

    cluster, others = machines
    lost = await decode.machine()
    held = next(each for each in others if each.node_id == lost)
    lost_s = time.monotonic()
    cluster.remove_node(held, allow_graceful=False)
    error = await asyncio.wait_for(asyncio.shield(d.died), 10)
    found_s = time.monotonic() - lost_s
    assert isinstance(error, NodeDiedError)
    assert "node 'D'" in str(error)

    again, d = await started("D", "gaudi-3")  # on the other machine with this device
    print(f"found after {found_s:.2f} s, serves again after {time.monotonic() - lost_s:.2f} s")
    outcome = await run_agent(split_llm(), {"P": p, "D": d}, {"chat": CHAT}, lambda _: None)
    assert outcome.values == whole.values
    for node in (prefill, decode, again):
        await node.stop()


async def test_what_has_no_place_is_told_with_what_there_is(
    ray: RayCluster, model_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ray_cluster, "PLACE_TIMEOUT_S", 1.0)
    with pytest.raises(InputError, match=r"'P'.* 1 mi355x free within 1 s \(free in all: .*1 of 1 h100-sxm"):
        await ray.start(spec("P", secrets.token_bytes(32), model_dir), {"mi355x": 1})


async def test_a_node_that_cannot_start_says_why(ray: RayCluster, tmp_path: Path) -> None:
    secret = secrets.token_bytes(32)
    node = await ray.start(spec("P", secret, tmp_path), {"h100-sxm": 1})
    with pytest.raises(CheckpointError, match=str(tmp_path)):
        await node.connect(node_transport("auto", secret), 60)
    await node.stop()


async def test_no_cluster_is_one_error() -> None:
    with pytest.raises(InputError, match=r"--ray 127\.0\.0\.1:1: cannot be reached"):
        async with RayCluster("127.0.0.1:1"):
            pass
