"""Whole runs through real node processes, with a small random model."""

import signal
import time
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

from tests.runtime import checkpoints
from tests.runtime.replies import reply_of
from tests.serve.deployments import MAX_TOKENS, deployment, loop_program, route, split_llm
from weft.control.backends.local import LocalFleet
from weft.core.deployment import Deployment
from weft.core.errors import CheckpointError, DeploymentError, NodeDiedError, StepFailedError
from weft.core.message import Message
from weft.runtime.engines.chat import Chat
from weft.runtime.engines.emulated import StepPace
from weft.runtime.engines.requests import Terms
from weft.runtime.engines.torch_engine import TorchEngine
from weft.serve.events import RunEvent, StepEnded, StepStarted, TokenPiece
from weft.serve.placement import LocalModels, node_specs
from weft.serve.run import run_agent

CHAT = (Message("user", "What does an H100 cost?"),)
SLOW_TOKENS_S = 0.02

AGENT = """
import time
from weft.agent import Text, choice, data

@data
def slow_upper(text: Text) -> Text:
    time.sleep(0.3)
    return text.upper()

@data
def join(left: Text, right: Text) -> Text:
    print("agents may print")
    return left + right

@data
def grow(text: Text) -> Text:
    if text == "FAILFAIL":
        raise ValueError("this text is not welcome")
    return text + "!"

@choice
def is_short(text: Text) -> bool:
    return len(text) < 8
"""


@pytest.fixture(scope="module")
def model_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return checkpoints.chat_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def agent_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("agent") / "loop_agent.py"
    path.write_text(AGENT)
    return path


def transformers_tokens(model_dir: Path) -> list[int]:
    prompt = Chat.load(model_dir).encode(CHAT)
    model = AutoModelForCausalLM.from_pretrained(model_dir)
    output = model.generate(
        torch.tensor([prompt]), attention_mask=torch.ones(1, len(prompt)), max_new_tokens=MAX_TOKENS, do_sample=False
    )
    return output[0, len(prompt) :].tolist()


def single_process_tokens(model_dir: Path) -> list[int]:
    engine, chat = TorchEngine.load(model_dir), Chat.load(model_dir)
    return reply_of(engine, chat.encode(CHAT), MAX_TOKENS, Terms(stop_tokens=chat.stop_tokens))


async def test_kv_moves_between_processes_and_a_death_fails_the_run(model_dir: Path) -> None:
    """One fleet for both, since starting it is what takes long."""
    plan = split_llm(s_per_output_token=SLOW_TOKENS_S)
    async with LocalFleet(node_specs(plan, LocalModels(model_dir), emulate=True)) as fleet:
        assert {client.info.model_hash for client in fleet.clients.values()} == {TorchEngine.load(model_dir).model_hash}
        assert len({client.info.pid for client in fleet.clients.values()}) == 2
        events: list[RunEvent] = []
        outcome = await run_agent(plan, fleet.clients, {"chat": CHAT}, events.append)

        pieces = [event for event in events if isinstance(event, TokenPiece)]
        tokens = [piece.token for piece in pieces]
        assert tokens == single_process_tokens(model_dir) == transformers_tokens(model_dir)
        assert outcome.values == (Chat.load(model_dir).decode(tokens),)
        prefill, moved, decode = outcome.record.steps
        assert (prefill.node, moved.node, decode.node) == ("P", "D", "D")
        assert (prefill.input_tokens, prefill.output_tokens, decode.output_tokens) == (26, 1, MAX_TOKENS - 1)
        kv_bytes = 2 * 3 * 2 * 16 * 4 * prefill.input_tokens  # K and V, layers, heads, head_dim, float32
        assert kv_bytes < moved.bytes_moved < kv_bytes + 500
        assert decode.emulated
        assert outcome.record.emulated_devices == ("device-of-D (emulated)", "device-of-P (emulated)")
        assert decode.duration_s >= SLOW_TOKENS_S * (MAX_TOKENS - 1)
        assert prefill.first_output_s is not None
        assert prefill.started_s <= prefill.first_output_s <= prefill.ended_s <= decode.started_s

        killed_s = 0.0

        def kill_while_decoding(event: RunEvent) -> None:
            nonlocal killed_s
            if isinstance(event, TokenPiece) and event.step == "answer.decode" and not killed_s:
                fleet.processes["D"].kill()
                killed_s = time.monotonic()

        with pytest.raises(NodeDiedError, match=r"node 'D': was killed by signal 9"):
            await run_agent(plan, fleet.clients, {"chat": CHAT}, kill_while_decoding)
        assert time.monotonic() - killed_s < 2
        with pytest.raises(NodeDiedError):
            await run_agent(plan, fleet.clients, {"chat": CHAT}, events.append)


def python_plan(agent_file: Path) -> Deployment:
    steps = ("left", "right", "join", "grow", "more")
    return deployment(loop_program(), tuple(route(step, "C") for step in steps), f"{agent_file}:loop")


async def test_branches_loops_and_side_by_side_steps(agent_file: Path) -> None:
    plan = python_plan(agent_file)
    async with LocalFleet(node_specs(plan, LocalModels(), emulate=False)) as fleet:
        events: list[RunEvent] = []
        outcome = await run_agent(plan, fleet.clients, {"text": "abc"}, events.append)
        assert outcome.values == ("ABCABC!!",)
        ended = [event.record for event in events if isinstance(event, StepEnded)]
        assert tuple(ended) == outcome.record.steps
        assert [(record.step, record.visit) for record in ended[2:]] == [
            ("join", 0), ("grow", 0), ("more", 0), ("grow", 1), ("more", 1),
        ]  # fmt: skip
        left, right = sorted(ended[:2], key=lambda record: record.step)
        assert max(left.started_s, right.started_s) < min(left.ended_s, right.ended_s)
        assert [event.step for event in events[:2] if isinstance(event, StepStarted)] == ["left", "right"]

        with pytest.raises(StepFailedError, match="step 'grow' on node 'C': its code: ValueError: this text is not"):
            await run_agent(plan, fleet.clients, {"text": "fail"}, events.append)
        assert (await run_agent(plan, fleet.clients, {"text": "abcd"}, events.append)).values == ("ABCDABCD!",)

        # a stopped process answers nothing and closes nothing: only pings notice
        fleet.processes["C"].send_signal(signal.SIGSTOP)
        stopped_s = time.monotonic()
        with pytest.raises(NodeDiedError, match="did not answer 2 pings"):
            await run_agent(plan, fleet.clients, {"text": "abc"}, events.append)
        assert time.monotonic() - stopped_s < 2


async def test_a_node_that_cannot_start_says_why(tmp_path: Path, agent_file: Path) -> None:
    plan = split_llm()
    with pytest.raises(CheckpointError, match=r"config\.json: does not exist"):
        async with LocalFleet(node_specs(plan, LocalModels(tmp_path), emulate=False)[:1]):
            pass
    broken = tmp_path / "broken.py"
    broken.write_text("1 / 0")
    plan = python_plan(broken)
    with pytest.raises(NodeDiedError, match=r"(?s)node 'C'.*ZeroDivisionError"):
        async with LocalFleet(node_specs(plan, LocalModels(), emulate=False)):
            pass
    with pytest.raises(NodeDiedError, match=r"was not ready after 0\.01 s"):
        async with LocalFleet(node_specs(python_plan(agent_file), LocalModels(), emulate=False), ready_timeout_s=0.01):
            pass


async def test_a_plan_on_another_fleet_is_refused() -> None:
    with pytest.raises(DeploymentError, match="placed on pool 'P'"):
        await run_agent(split_llm(), {}, {"chat": CHAT}, print)


def test_specs_hold_what_their_steps_need(agent_file: Path) -> None:
    models = LocalModels(Path("llm"), stt_dir=Path("stt"), corpus=Path("corpus"))
    specs = {spec.name: spec for spec in node_specs(split_llm(s_per_output_token=0.5), models, emulate=True)}
    assert specs["P"].kinds == ("prefill",)
    assert specs["D"].kinds == ("decode", "kv_transfer")
    assert {(spec.model_dir, spec.stt_dir, spec.corpus, spec.agent_source) for spec in specs.values()} == {
        ("llm", None, None, None)
    }
    assert specs["D"].paces["answer.decode"] == StepPace(s_per_output_token=0.5)
    assert specs["P"].secret == specs["D"].secret
    (python,) = node_specs(python_plan(agent_file), models, emulate=False)
    assert (python.model_dir, python.agent_source, python.paces) == (None, f"{agent_file}:loop", {})
