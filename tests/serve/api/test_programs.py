"""Programs of others, as they are: LangGraph examples whose models are served by Weft, which they take for OpenAI."""

import asyncio
import runpy
from collections.abc import AsyncIterator
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from tests.runtime import checkpoints
from tests.serve.api.conftest import taught
from tests.serve.deployments import deployment, llm_program, route
from weft.runtime.client import NodeClient
from weft.runtime.engines.chat import Chat
from weft.runtime.engines.torch_engine import TorchEngine
from weft.runtime.node import Node
from weft.runtime.services import LLM_KINDS, Services
from weft.runtime.spec import NodeSpec
from weft.runtime.transport.memory import MemoryTransport
from weft.serve.agents import Agents, ServedAgent
from weft.serve.api.app import App
from weft.serve.server import Address, listening

if find_spec("langchain_openai") is None:  # importing it here would take seconds
    pytest.skip("needs langchain-openai", allow_module_level=True)
EXAMPLES = Path(__file__).parents[3] / "examples" / "langgraph"
MODELS = ("llama-3.1-8b", "llama-3.3-70b")


@pytest.fixture(scope="module")
def services(tmp_path_factory: pytest.TempPathFactory) -> Services:
    """A model with room for a prompt that describes tools."""
    folder = checkpoints.chat_model(tmp_path_factory.mktemp("roomy"), max_position_embeddings=4096)
    checkpoints.save_tokenizer(folder, taught())
    return Services(NodeSpec("llm", "cpu", LLM_KINDS, ""), TorchEngine.load(folder), Chat.load(folder))


@pytest.fixture
async def app(services: Services, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[App]:
    """Where the examples look for it."""
    monkeypatch.setenv("OPENAI_API_KEY", "none")
    transport = MemoryTransport()
    node = Node(services, transport)
    client = await NodeClient.open("llm", transport, await node.listen())
    program = replace(llm_program(max_tokens=12), input_types=("messages",))
    served = [
        ServedAgent(
            deployment(replace(program, name=name), tuple(route(step.name, "llm") for step in program.steps)),
            {"llm": client},
        )
        for name in MODELS
    ]
    app = App(Agents({agent.name: agent for agent in served}))
    async with listening(app, Address(port=8000).opened()[1], 1.0):
        yield app
    await client.close()
    await node.close()


def ended(app: App) -> int:
    return sum(agent.ended for agent in app.agents.by_name.values())


def load(name: str) -> dict[str, Any]:
    return runpy.run_path(str(EXAMPLES / name))


async def test_an_agent_with_tools(app: App) -> None:
    agent = load("single_agent.py")["agent"]
    state = await asyncio.to_thread(agent.invoke, {"messages": [{"role": "user", "content": "What is 6 × 7?"}]})
    assert state["messages"][-1].content or state["messages"][-1].tool_calls
    assert ended(app) >= 1


async def test_a_map_reduce_graph(app: App) -> None:
    graph = load("map_reduce.py")["graph"]
    state = await asyncio.to_thread(graph.invoke, {"topic": "GPUs"})
    assert len(state["jokes"]) == len(state["subjects"]) >= 1
    assert ended(app) == 2 + len(state["subjects"])


async def test_a_graph_with_a_person_and_a_stream(app: App) -> None:
    from langgraph.types import Command

    loaded = load("review.py")
    graph, config = loaded["graph"], {"configurable": {"thread_id": "1"}}
    state = await asyncio.to_thread(graph.invoke, {"subject": "GPUs"}, config)
    assert "__interrupt__" in state
    done = await asyncio.to_thread(graph.invoke, Command(resume="yes"), config)
    assert done["draft"] and len(done["remarks"]) == 2
    assert ended(app) == 3
    pieces = await asyncio.to_thread(lambda: [piece.content for piece in loaded["model"].stream("hello")])
    assert "".join(pieces)


async def test_an_openai_agents_sdk_program(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its model calls a tool, and goes on with what came of it."""
    pytest.importorskip("agents", reason="needs openai-agents")
    monkeypatch.setenv("OPENAI_BASE_URL", "http://localhost:8000/v1")
    monkeypatch.setenv("OPENAI_AGENTS_DISABLE_TRACING", "1")
    program = runpy.run_path(str(EXAMPLES.parent / "openai_agents" / "prices.py"))
    for served in app.agents.by_name.values():
        served.deployment = replace(served.deployment, program=replace(llm_program(200), input_types=("messages",)))

    def ask() -> Any:
        loop = asyncio.new_event_loop()
        asyncio.set_event_loop(loop)
        try:
            return program["ask"]("What does an H100 cost?")
        finally:
            loop.close()

    result = await asyncio.to_thread(ask)
    assert [item.type for item in result.new_items][:2] == ["tool_call_item", "tool_call_output_item"]
    assert "dollars" in result.new_items[1].output
    assert result.final_output.cheaper in ("H100", "A40")
