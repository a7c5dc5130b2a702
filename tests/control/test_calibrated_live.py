"""Live nodes tell how long their passes take: emulated devices, slower than the plan has them, are found out."""

import secrets
from dataclasses import replace
from pathlib import Path

import pytest

from tests.runtime import checkpoints
from tests.serve.deployments import deployment, route, split_llm
from tests.serve.python_nodes import PythonFleet
from tests.sim.deployments import flat_pace
from weft.control.dry_run import learned
from weft.control.loop import Loop
from weft.core.deployment import Deployment
from weft.core.message import Message
from weft.core.pace import EngineTerms
from weft.core.program import StepKind
from weft.core.workload import Workload
from weft.plan.measured import modelled
from weft.plan.staffing import scaling_of
from weft.policy.scaling import ScalingConfig
from weft.runtime.client import NodeClient
from weft.runtime.engines.chat import Chat
from weft.runtime.engines.emulated import Pacer, StepPace
from weft.runtime.engines.pass_meter import PassMeter
from weft.runtime.engines.torch_engine import TorchEngine
from weft.runtime.messages import NodeInfo, PassTimes, PhaseTimes
from weft.runtime.node import Node
from weft.runtime.services import Services
from weft.runtime.spec import NodeSpec
from weft.runtime.transport.choose import node_transport
from weft.serve.agents import Agents, ServedAgent
from weft.serve.dispatch import Dispatcher
from weft.serve.metrics import exposition
from weft.serve.passes import EMULATED, Passes, PassNews, seen
from weft.serve.run import Asked

CHAT = (Message("user", "What does an H100 cost?"),)
PACE = flat_pace(decode_s=2e-4, token_s=1e-6)
KINDS = (StepKind.PREFILL, StepKind.DECODE)
PREFILL, DECODE = "m@device-of-S.prefill", "m@device-of-S.decode"


def whole_calls() -> Deployment:
    base = split_llm(max_tokens=30)
    (block,) = base.program.blocks
    prefill, _, decode = block.steps
    block = replace(block, steps=(prefill, replace(decode, inputs=prefill.outputs)))
    plan = deployment(
        replace(base.program, blocks=(block,)), (route("answer.prefill", "S"), route("answer.decode", "S"))
    )
    terms = EngineTerms(PACE, 512, 4096, 1.0, 16)
    return replace(plan, workload=Workload("test", 1000.0), pools=(replace(plan.pools[0], model="m", engine=terms),))


async def test_what_emulated_devices_take_is_learned(tmp_path: Path) -> None:
    directory, plan = checkpoints.chat_model(tmp_path), whole_calls()
    (pool,) = plan.pools
    assert modelled(plan, pool) == PACE and pool.engine is not None
    engine = TorchEngine.load(directory)
    pacer = Pacer(replace(pool.engine, pace=PACE.stretched(3.0, 1.5)))
    engine.scheduler.pacer, engine.scheduler.meter = pacer, PassMeter(PACE)
    spec = NodeSpec("S", f"{pool.device}{EMULATED}", KINDS, paces={"answer.decode": StepPace()})
    services = Services(spec, engine, Chat.load(directory), pacer=pacer, meter=engine.scheduler.meter)
    transport = node_transport("auto", secrets.token_bytes(32))
    node = Node(services, transport)
    client = await NodeClient.open("S", transport, await node.listen())
    dispatcher = Dispatcher(plan, [client])
    agent = ServedAgent(plan, dispatcher)
    loop = Loop(agent, PythonFleet(str, dispatcher.join), {}, scaling_of(plan, ScalingConfig()))
    for _ in range(16):
        await agent.run(Asked({"chat": CHAT}, lambda _: None))
        loop.look()
    assert loop.calibration.factors == {DECODE: pytest.approx(1.5)}, "of prompts there were too few passes yet"
    known = loop.calibration.known[PREFILL]
    assert known.passes < 40 and known.measured == 1.0
    (told,) = [each.why for each in agent.history.decisions if each.change == "measure"]
    assert told.startswith("decode of m on device-of-S (emulated) takes 1.50 × the model's time, from ")
    again = learned({}, (seen(*each) for each in dispatcher.passes.sums.items())).known
    assert again[DECODE].factor == pytest.approx(1.5)
    text = exposition(Agents({"chat": agent})).decode()
    assert f'clock="model",emulated="True",node="S",pace="{DECODE}"' in text
    await client.close()
    await node.close()


def test_devices_that_are_not_the_plans_teach_nothing_of_them() -> None:
    (pool,) = whole_calls().pools
    times = PhaseTimes(PassTimes(1, 2.0, 1.0), PassTimes())
    for device, known in (("this machine's CPU", 0), (pool.device, 1), (pool.device + EMULATED, 1)):
        passes, news = Passes(), PassNews()
        passes.add(pool, NodeInfo("S", device, KINDS, False, None, 0, 0.0), times)
        passes.add(replace(pool, model=None), NodeInfo("S", pool.device, KINDS, False, None, 0, 0.0), times)
        assert len(passes.sums) == len(news.since(passes)) == known
        assert not news.since(passes), "once"
