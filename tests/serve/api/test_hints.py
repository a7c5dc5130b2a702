"""What a caller says of a request reaches the node: how urgent it is, whose caches it may share."""

import contextlib
import json
from collections.abc import AsyncGenerator, Generator
from pathlib import Path

import pytest

from tests.serve.api.conftest import chat
from tests.serve.api.test_app import CHAT, ask
from tests.serve.api.test_guard import KEY, OTHER
from weft.core.program import StepKind
from weft.runtime.client import NodeClient
from weft.runtime.messages import Call
from weft.runtime.node import Node
from weft.runtime.observe import Seen
from weft.runtime.services import Services
from weft.runtime.transport.memory import MemoryTransport
from weft.serve.agents import Agents, ServedAgent
from weft.serve.api.app import App
from weft.serve.api.keys import Keys, digest_of

PROMPT = {**CHAT, "messages": [{"role": "user", "content": "how much memory does the gpu have? " * 4}], "max_tokens": 2}


class Watching:
    """The model calls that a node was asked, with what was said of them."""

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self.seen: list[Seen] = []

    @contextlib.contextmanager
    def step(self, call: Call) -> Generator[Seen]:
        self.calls.append(call)
        self.seen.append(Seen())
        yield self.seen[-1]

    def cached(self) -> list[int]:
        """Of each prompt, the tokens that were not computed."""
        pairs = zip(self.calls, self.seen, strict=True)
        return [seen.metrics.cached_tokens for call, seen in pairs if call.kind is StepKind.PREFILL]


@contextlib.asynccontextmanager
async def watched(services: tuple[Services, Services]) -> AsyncGenerator[tuple[App, Watching]]:
    watching, transport = Watching(), MemoryTransport()
    node = Node(services[0].observed_by(watching), transport)
    client = await NodeClient.open("llm", transport, await node.listen())
    try:
        yield App(Agents({"chat": ServedAgent(chat(), {"llm": client})})), watching
    finally:
        await client.close()
        await node.close()


@pytest.mark.parametrize(
    ("hints", "rank"), [({"priority": 5}, -5.0), ({"latency_sensitivity": 2.5}, -2.5), ({"priority": -1}, 1.0)]
)
async def test_a_priority_is_the_rank_of_every_model_call(
    services: tuple[Services, Services], hints: dict[str, float], rank: float
) -> None:
    async with watched(services) as (app, watching):
        asked = json.dumps({**PROMPT, "nvext": {"agent_hints": hints}}).encode()
        assert (await ask(app, "POST", "/v1/chat/completions", asked))[0] == 200
        model_calls = [call for call in watching.calls if call.kind in (StepKind.PREFILL, StepKind.DECODE)]
        assert [call.attributes["rank"] for call in model_calls] == [rank, rank]


async def test_without_hints_nothing_more_is_said(services: tuple[Services, Services]) -> None:
    async with watched(services) as (app, watching):
        assert (await ask(app, "POST", "/v1/chat/completions", json.dumps(PROMPT).encode()))[0] == 200
        assert not any({"rank", "tenant"} & set(call.attributes) for call in watching.calls)


async def test_prefixes_are_shared_within_a_tenant_only(services: tuple[Services, Services], tmp_path: Path) -> None:
    (tmp_path / "keys").write_text(f"{digest_of(KEY)} alice tenant=acme\n{digest_of(OTHER)} bob tenant=rival\n")
    async with watched(services) as (app, watching):
        app.guard.keys = Keys.read(tmp_path / "keys")
        for key in (KEY, KEY, OTHER, OTHER):
            asked = json.dumps(PROMPT).encode()
            status, _, _ = await ask(app, "POST", "/v1/chat/completions", asked, authorization=f"Bearer {key}")
            assert status == 200
        assert [call.attributes.get("tenant") for call in watching.calls if call.kind is StepKind.PREFILL] == [
            "acme", "acme", "rival", "rival",
        ]  # fmt: skip
        assert [bool(cached) for cached in watching.cached()] == [False, True, False, True]
