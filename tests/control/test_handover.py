"""A node leaves under a conversation: its next turn hits the prefix at the node that stays, or is read again."""

import asyncio
import secrets
from collections.abc import AsyncGenerator, Iterable
from dataclasses import replace
from pathlib import Path

import pytest

from tests.control.test_calibrated_live import KINDS, whole_calls
from tests.runtime import checkpoints
from tests.serve.python_nodes import PythonFleet
from weft.control.handover import hand_over
from weft.control.loop import Loop
from weft.control.moving import Crossing, Mover
from weft.core.deployment import Deployment, Pool
from weft.core.hardware import Link, Source
from weft.core.message import Message
from weft.core.workload import Workload
from weft.policy.scaling import Scaling, ScalingConfig
from weft.runtime.client import NodeClient
from weft.runtime.engines.chat import Chat
from weft.runtime.engines.torch_engine import TorchEngine
from weft.runtime.node import Node
from weft.runtime.services import Services
from weft.runtime.spec import NodeSpec
from weft.runtime.transport.choose import node_transport
from weft.serve.agents import ServedAgent
from weft.serve.dispatch import Dispatcher
from weft.serve.run import Asked, run_agent

FIRST = Message("user", "What does an H100 cost? " + "Think of the sea and of the mountains. " * 3)
PLAN = whole_calls()
Pair = tuple[list[TorchEngine], list[NodeClient]]


@pytest.fixture(scope="module")
def model_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return checkpoints.chat_model(tmp_path_factory.mktemp("model"))


@pytest.fixture
async def pair(model_dir: Path) -> AsyncGenerator[Pair, None]:
    transport, chat = node_transport("auto", secrets.token_bytes(32)), Chat.load(model_dir)
    engines = [TorchEngine.load(model_dir) for _ in range(2)]
    nodes = [
        Node(Services(NodeSpec(name, "cpu", KINDS), engine, chat), transport)
        for name, engine in zip(("S", "S#1"), engines, strict=True)
    ]
    clients = [await NodeClient.open(f"S{'#1' * at}", transport, await node.listen()) for at, node in enumerate(nodes)]
    yield engines, clients
    for each in (*clients, *nodes):
        await each.close()


async def turn(client: NodeClient, *said: Message) -> tuple[str, int]:
    """The reply, and how many tokens of the prompt were not computed."""
    outcome = await run_agent(PLAN, {"S": client}, {"chat": said}, lambda _: None)
    return str(outcome.values[0]), sum(step.cached_tokens for step in outcome.record.steps)


async def test_the_next_turn_hits_the_prefix_where_the_conversation_went(pair: Pair) -> None:
    (old, _), (leaving, staying) = pair
    words, _ = await turn(leaving, FIRST)
    again = (FIRST, Message("assistant", words), Message("user", "And two?"))
    alone, hit = await turn(leaving, *again)
    assert hit > 48
    old.scheduler.offers.s_per_token = 0.01  # a device on which reading is dear
    dispatcher = Dispatcher(PLAN, [leaving, staying])
    first, second = dispatcher.nodes[leaving], dispatcher.nodes[staying]
    told = await hand_over(first, [first, second], PLAN)
    assert "cached blocks of S went to S#1 (" in told and "read again" not in told
    words, found = await turn(staying, *again)
    assert words == alone and found >= hit
    assert "0 of 0 cached blocks" in await hand_over(first, [second], PLAN, younger_s=0.0)


async def test_what_is_cheaper_to_read_again_is_dropped_and_that_is_said(pair: Pair) -> None:
    (old, _), (leaving, staying) = pair
    await turn(leaving, FIRST)
    old.scheduler.offers.s_per_token = 1e-6
    slow = replace(PLAN, links=(Link("slow", "slow", 1e3, 0.0, 0.0, Source("test", "2026")),))
    dispatcher = Dispatcher(slow, [leaving, staying])
    told = await hand_over(dispatcher.nodes[leaving], dispatcher.nodes.values(), slow)
    assert told.startswith("0 of ") and told.endswith("are cheaper read again")
    assert (await turn(staying, FIRST))[1] == 0
    assert "nobody else has its model" in await hand_over(dispatcher.nodes[leaving], [], slow)


async def test_a_node_that_control_drains_hands_its_conversations_over_before_it_ends(pair: Pair) -> None:
    (old, new), (leaving, staying) = pair
    pools = (replace(PLAN.pools[0], utilisation=1.5),)
    plan = replace(PLAN, pools=pools, workload=Workload("test", 1.0))
    dispatcher = Dispatcher(plan, [leaving, staying])
    agent, fleet = ServedAgent(plan, dispatcher), PythonFleet(str, dispatcher.join)
    await turn(leaving, FIRST)
    old.scheduler.offers.s_per_token = new.scheduler.offers.s_per_token = 0.01
    dispatcher.nodes[staying].tally.running = 1  # so that the other one has least to do
    removed = list[str]()

    async def remove(name: str) -> None:
        removed.append(name)

    fleet.remove = remove  # type: ignore[method-assign]
    terms = ScalingConfig(quick_s=1e9, slow_s=1e9, clear_s=1e9, settle_s=0.0, cool_down_s=0.0, start_s=0.0)
    loop = Loop(agent, fleet, {}, Scaling(replace(plan, pools=PLAN.pools), terms))
    loop.look()
    dispatcher.nodes[staying].tally.running = 0
    while not removed:
        await asyncio.sleep(0.01)
    assert removed == ["S"]
    (told,) = [each.why for each in agent.history.decisions if each.change == "hand over"]
    assert "went to S#1" in told
    assert (await turn(staying, FIRST))[1] > 48


class Other:
    """Nodes, of which one more is there: the next that is asked for is that."""

    absent: frozenset[str] = frozenset()

    def __init__(self, crossing: Crossing, client: NodeClient) -> None:
        self.removed = list[str]()
        self._crossing, self._client = crossing, client

    def expect(self, pools: Iterable[Pool]) -> None: ...

    async def add(self, spec: NodeSpec) -> NodeClient:
        self._client.name = spec.name
        self._crossing.join(self._client)
        return self._client

    async def remove(self, name: str) -> None:
        self.removed.append(name)


async def test_a_conversation_goes_along_when_its_agent_moves_to_another_plan(pair: Pair) -> None:
    (old, _), (leaving, staying) = pair
    old.scheduler.offers.s_per_token = 0.01
    dispatcher = Dispatcher(PLAN, [leaving])
    agent, crossing = ServedAgent(PLAN, dispatcher), Crossing([dispatcher])

    async def cached(*said: Message) -> int:
        outcome = await agent.run(Asked({"chat": said}, lambda _: None))
        assert {step.node for step in outcome.record.steps} == {agent.dispatcher.deployment.pools[0].name}
        return outcome.record.steps[0].cached_tokens

    await cached(FIRST)
    old.scheduler.offers.s_per_token = 0.01
    target = replace(PLAN, pools=(replace(PLAN.pools[0], device="another"),))
    fleet = Other(crossing, staying)

    def specs(plan: Deployment) -> list[NodeSpec]:
        return [NodeSpec(pool.name, pool.device, KINDS) for pool in plan.pools]

    await Mover(agent, fleet, crossing, specs, "").move(target)
    assert fleet.removed == ["S"] and agent.deployment.pools[0].name == "S~2"
    told = [each.why for each in agent.history.decisions if each.change == "hand over"]
    assert "went to S~2" in told[0] and "0 of 0" in told[1]
    assert await cached(FIRST, Message("assistant", "x"), Message("user", "And two?")) > 48
