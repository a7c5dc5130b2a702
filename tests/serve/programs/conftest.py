"""Programs that drive themselves, as plans have them, and a node for each of their models."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from tests.runtime import checkpoints
from tests.serve.api.conftest import taught
from tests.serve.deployments import deployment, route, step
from weft.core.deployment import Deployment
from weft.core.message import Message
from weft.core.program import Block, Program, StepKind, Terminator
from weft.runtime.client import NodeClient
from weft.runtime.engines.chat import Chat
from weft.runtime.engines.torch_engine import TorchEngine
from weft.runtime.node import Node
from weft.runtime.services import LLM_KINDS, Services
from weft.runtime.spec import NodeSpec
from weft.runtime.telemetry import Telemetry
from weft.runtime.transport.memory import MemoryTransport
from weft.runtime.values import Value

MODEL = """
from langchain_core.language_models.chat_models import BaseChatModel

class Model(BaseChatModel):
    model: str
    max_tokens: int = 24

    @property
    def _llm_type(self):
        return "nobody's"

    def _generate(self, *args, **kwargs):
        raise RuntimeError("never called: Weft answers")

small, large = Model(model="small"), Model(model="large")
"""
"""How a provider's library makes models, without the weight of one."""


def planned(path: Path, graph: str, *calls: tuple[str, str]) -> Deployment:
    """Calls (name, model), each on the pool of its model; and a step of the program's own that no node is asked for."""
    blocks = tuple(
        Block(
            name,
            ("state",),
            (
                step(f"{name}.prefill", StepKind.PREFILL, "state", f"{name}_kv", model=model, max_tokens=48),
                step(f"{name}.decode", StepKind.DECODE, f"{name}_kv", f"{name}_text", model=model, max_tokens=48),
                step(f"{name}.update", StepKind.APPLY, f"{name}_text", f"{name}_state", function=name),
            ),
            Terminator(),
        )
        for name, model in calls
    )
    routes = tuple(
        route(each.name, "cpu" if each.kind is StepKind.APPLY else str(each.attributes["model"]), usd_per_run=0.5)
        for block in blocks
        for each in block.steps
    )
    return deployment(Program(graph, blocks, ("messages",)), routes, f"langgraph:{path}:{graph}")


def said(text: str) -> dict[str, Value]:
    return {"state": (Message("user", text),)}


@pytest.fixture(scope="session")
def services(tmp_path_factory: pytest.TempPathFactory) -> Services:
    folder = checkpoints.chat_model(tmp_path_factory.mktemp("roomy"), max_position_embeddings=4096)
    checkpoints.save_tokenizer(folder, taught())
    return Services(NodeSpec("x", "cpu", LLM_KINDS, ""), TorchEngine.load(folder), Chat.load(folder))


@pytest.fixture
def spans() -> InMemorySpanExporter:
    """Where spans of nodes go."""
    return InMemorySpanExporter()


@pytest.fixture
async def clients(services: Services, spans: InMemorySpanExporter) -> AsyncIterator[dict[str, NodeClient]]:
    transport, telemetry = MemoryTransport(), Telemetry(services.spec, spans)
    nodes = [Node(services.observed_by(telemetry), transport) for _ in range(2)]
    opened = {
        name: await NodeClient.open(name, transport, await node.listen())
        for name, node in zip(("small", "large"), nodes, strict=True)
    }
    yield opened
    for client in opened.values():
        await client.close()
    for node in nodes:
        await node.close()
    telemetry.close()
