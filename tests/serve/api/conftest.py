"""A server of four agents on nodes in this process: a model that chats; Python that loops, speaks, listens."""

import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path

import pytest

from tests.runtime import checkpoints
from tests.serve.deployments import deployment, llm_program, loop_program, route, step
from weft.core.deployment import Deployment
from weft.core.program import Block, Program, StepKind, Terminator
from weft.runtime.client import NodeClient
from weft.runtime.engines.chat import Chat
from weft.runtime.engines.torch_engine import TorchEngine
from weft.runtime.node import Node
from weft.runtime.services import LLM_KINDS, PYTHON_KINDS, Services, load_functions
from weft.runtime.spec import NodeSpec
from weft.runtime.transport.memory import MemoryTransport
from weft.serve.agents import Agents, ServedAgent
from weft.serve.api.app import App
from weft.serve.server import Address, listening

AGENT = """
import time
from weft.agent import Audio, Text, choice, data

@data
def slow_upper(text: Text) -> Text:
    if text == "hang":
        time.sleep(0.5)
    return text.upper()

@data
def join(left: Text, right: Text) -> Text:
    return left + right

@data
def grow(text: Text) -> Text:
    if text == "FAILFAIL":
        raise ValueError("this text is not welcome")
    return text + "!"

@data
def size(wav: Audio) -> Text:
    return str(len(wav))

@choice
def is_short(text: Text) -> bool:
    return len(text) < 8
"""


def loop() -> Deployment:
    program = replace(loop_program(), input_types=("text",))
    routes = tuple(route(each.name, "python", usd_per_run=0.25) for each in program.steps)
    return deployment(program, routes)


def chat() -> Deployment:
    program = replace(llm_program(), input_types=("messages",))
    priced = [replace(route(each.name, "llm"), usd_per_million_tokens=2.0) for each in program.steps]
    return deployment(program, tuple(priced))


def speaker() -> Deployment:
    steps = (
        step("say", StepKind.APPLY, "text", "said", function="slow_upper"),
        step("speak", StepKind.SYNTHESIZE, "said", "sound"),
    )
    program = Program("speaker", (Block("entry", ("text",), steps, Terminator(returns=("sound",))),), ("text",))
    return deployment(program, (route("say", "python"), route("speak", "python")))


def ear() -> Deployment:
    steps = (step("measure", StepKind.APPLY, "wav", "text", function="size"),)
    program = Program("ear", (Block("entry", ("wav",), steps, Terminator(returns=("text",))),), ("audio",))
    return deployment(program, (route("measure", "python"),))


def taught() -> str:
    """A chat template that shows the tools that a model is offered, and the calls that were made."""
    calls = "{% if message.tool_calls %}{{ message.tool_calls | tojson }}{% endif %}<|end|>"
    return checkpoints.CHAT_TEMPLATE.replace("<|end|>", calls) + "{% if tools %}{{ tools | tojson }}{% endif %}"


@pytest.fixture(scope="session")
def model_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = checkpoints.chat_model(tmp_path_factory.mktemp("served"))
    return checkpoints.save_tokenizer(folder, taught())


@pytest.fixture(scope="session")
def services(model_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Services, Services]:
    path = tmp_path_factory.mktemp("served_agent") / "agent.py"
    path.write_text(AGENT)
    python = NodeSpec("python", "cpu", (*PYTHON_KINDS, StepKind.SYNTHESIZE), "")
    llm = NodeSpec("llm", "cpu", LLM_KINDS, "")
    return (
        Services(llm, TorchEngine.load(model_dir), Chat.load(model_dir)),
        Services(python, functions=load_functions(f"{path}:none")),
    )


@pytest.fixture
async def clients(services: tuple[Services, Services]) -> AsyncIterator[dict[str, NodeClient]]:
    transport = MemoryTransport()
    async with contextlib.AsyncExitStack() as stack:
        clients = dict[str, NodeClient]()
        for each in services:
            node = Node(each, transport)
            address = await node.listen()
            stack.push_async_callback(node.close)
            clients[each.spec.name] = await NodeClient.open(each.spec.name, transport, address)
            stack.push_async_callback(clients[each.spec.name].close)
        yield clients


@pytest.fixture
def app(clients: dict[str, NodeClient]) -> App:
    deployments = (chat(), loop(), speaker(), ear())
    return App(Agents({each.program.name: ServedAgent(each, clients) for each in deployments}))


Serve = Callable[[App], contextlib.AbstractAsyncContextManager[str]]


@pytest.fixture
def served() -> Serve:
    """`async with served(app) as url:` a real server on a free port."""

    @contextlib.asynccontextmanager
    async def serving(app: App) -> AsyncGenerator[str]:
        address, sockets = Address(port=0).opened()
        async with listening(app, sockets, 1.0):
            yield address.url

    return serving
