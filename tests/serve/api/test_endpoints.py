"""/v1/completions, /v1/embeddings and the tools of /v1/responses, by the official client; hints; the document."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import openai
import pytest

from tests.runtime import encoders
from tests.serve.api.test_app import ask
from tests.serve.api.test_openai_client import ASK, Connect
from tests.serve.api.test_openai_client import connected as connected
from tests.serve.api.test_tools import LOOK_UP
from tests.serve.deployments import deployment, route, step
from weft.core.program import Block, Program, StepKind, Terminator
from weft.runtime.client import NodeClient
from weft.runtime.node import Node
from weft.runtime.services import Services
from weft.runtime.spec import NodeSpec
from weft.runtime.steps.embed import BatchedEmbedder, Embedder
from weft.runtime.transport.memory import MemoryTransport
from weft.serve.agents import ServedAgent
from weft.serve.api.app import ROUTES, App

FLAT: Any = {"type": "function", **LOOK_UP["function"]}


@pytest.fixture(scope="module")
def embedder(tmp_path_factory: pytest.TempPathFactory) -> Embedder:
    return Embedder(encoders.embedding_model(tmp_path_factory.mktemp("embed") / "model"))


@pytest.fixture
async def embedding(app: App, embedder: Embedder) -> AsyncIterator[App]:
    """With an agent that embeds."""
    steps = (step("embed", StepKind.EMBED, "text", "vector"),)
    program = Program("embed", (Block("entry", ("text",), steps, Terminator(returns=("vector",))),), ("text",))
    transport = MemoryTransport()
    services = Services(NodeSpec("vectors", "cpu", (StepKind.EMBED,), ""), embedder=BatchedEmbedder(embedder))
    node = Node(services, transport)
    client = await NodeClient.open("vectors", transport, await node.listen())
    served = ServedAgent(deployment(program, (route("embed", "vectors", usd_per_run=0.5),)), {"vectors": client})
    app.agents = type(app.agents)({**app.agents.by_name, "embed": served})
    yield app
    await client.close()
    await node.close()


async def test_embeddings_are_those_of_the_model(embedding: App, connected: Connect, embedder: Embedder) -> None:
    texts = ["memory of the gpu", "a cup of tea"]
    async with connected(embedding) as client:
        whole = await client.embeddings.create(model="embed", input=texts)
        plain = await client.embeddings.create(model="embed", input=texts[0], encoding_format="float")
        with pytest.raises(openai.BadRequestError, match="does not embed"):
            await client.embeddings.create(model="loop", input="x")
        with pytest.raises(openai.BadRequestError, match="dimensions"):
            await client.embeddings.create(model="embed", input="x", dimensions=3)
    for given, wanted in zip(whole.data, embedder.embed(texts), strict=True):
        assert given.embedding == pytest.approx(wanted.tolist(), abs=1e-6)
    assert plain.data[0].embedding == pytest.approx(whole.data[0].embedding, abs=1e-6)
    assert whole.usage.model_extra == {"usd": 1.0, "steps": whole.usage.model_extra["steps"]}  # pyright: ignore


async def test_completions_say_what_chats_say(app: App, connected: Connect) -> None:
    async with connected(app) as client:
        chats = [
            await client.chat.completions.create(model="chat", messages=[{"role": "user", "content": text}])
            for text in ("hello", "what?")
        ]
        whole = await client.completions.create(model="chat", prompt=["hello", "what?"], logprobs=2)
        stream = await client.completions.create(
            model="chat", prompt="hello", stream=True, stream_options={"include_usage": True}
        )
        chunks = [chunk async for chunk in stream]
        python = await client.completions.create(model="loop", prompt="ab")
        with pytest.raises(openai.BadRequestError, match="echo is not taken here"):
            await client.completions.create(model="chat", prompt="x", echo=True)
        with pytest.raises(openai.BadRequestError, match="1 to 64 prompts"):
            await client.completions.create(model="chat", prompt=[])
    assert [choice.text for choice in whole.choices] == [chat.choices[0].message.content for chat in chats]
    assert "".join(choice.text for chunk in chunks for choice in chunk.choices) == whole.choices[0].text
    assert chunks[-1].usage and chunks[-1].usage.completion_tokens == chats[0].usage.completion_tokens  # pyright: ignore
    assert python.choices[0].text == "ABAB!!!!"
    logprobs = whole.choices[0].logprobs
    assert logprobs and logprobs.tokens and logprobs.top_logprobs and len(logprobs.top_logprobs[0]) == 2


async def test_a_response_calls_a_tool_and_goes_on_with_what_came_of_it(app: App, connected: Connect) -> None:
    asked: Any = {"model": "chat", "input": ASK, "tools": [FLAT], "tool_choice": "required"}
    async with connected(app) as client:
        whole = await client.responses.create(**asked)
        events = [each async for each in await client.responses.create(**asked, stream=True)]
        (call,) = whole.output
        assert call.type == "function_call"
        # ids are drawn anew each time, and are part of what the model reads
        done: Any = {"type": "function_call_output", "call_id": "call_1", "output": "9"}
        items: Any = [*ASK, call.model_dump(exclude_none=True) | {"call_id": "call_1", "id": "fc_1"}, done]
        after = await client.responses.create(model="chat", input=items, tools=[FLAT], max_output_tokens=4)
        with pytest.raises(openai.BadRequestError, match="input"):
            await client.responses.create(model="chat", input=[{"type": ["odd"]}])  # pyright: ignore
    assert (call.name, json.loads(call.arguments)["what"] in ("price", "memory")) == ("look_up", True)
    final = events[-1]
    assert final.type == "response.completed"
    assert final.response.output[0].arguments == call.arguments  # pyright: ignore
    assert (after.status == "incomplete" and after.output_text) or after.status == "completed"  # it may end by itself
    kinds = [each.type for each in events]
    assert "response.function_call_arguments.done" in kinds and "response.output_text.delta" not in kinds


async def test_the_blocking_client_works_too(app: App, connected: Connect) -> None:
    async with connected(app) as client:
        base = str(client.base_url)

        def block() -> tuple[str | None, str]:
            with openai.OpenAI(base_url=base, api_key="none", max_retries=0) as sync:
                whole = sync.chat.completions.create(model="loop", messages=ASK[1:])
                parts = sync.chat.completions.create(model="loop", messages=ASK[1:], stream=True)
                return whole.choices[0].message.content, "".join(part.choices[0].delta.content or "" for part in parts)

        whole, streamed = await asyncio.to_thread(block)
    assert whole == streamed


@pytest.mark.parametrize(
    "headers",
    [{"x_session_id": "x" * 201}, {"x_agent_hints": "{"}, {"x_request_timeout_s": "0"}, {"x_request_timeout_s": "nan"}],
)
async def test_hints_that_cannot_be_are_refused(app: App, headers: dict[str, str]) -> None:
    body = json.dumps({"model": "loop", "messages": ASK[1:]}).encode()
    assert (await ask(app, "POST", "/v1/chat/completions", body, **headers))[0] == 400
    fine = {"x_session_id": "s", "x_agent_hints": '{"priority": 3, "osl": 9}', "x_request_timeout_s": "60"}
    assert (await ask(app, "POST", "/v1/chat/completions", body, **fine))[0] == 200


async def test_the_document_lists_every_route(app: App) -> None:
    _, document, _ = await ask(app, "GET", "/openapi.json")
    assert set(document["paths"]) == set(ROUTES.paths)
    text = json.dumps(document)
    for name in document["components"]["schemas"]:
        assert f"#/components/schemas/{name}" in text


async def test_step_costs_stand_in_the_headers(app: App) -> None:
    body = json.dumps({"model": "loop", "messages": ASK[1:]}).encode()
    _, answer, headers = await ask(app, "POST", "/v1/chat/completions", body)
    told = [float(each.partition("=")[2]) for each in headers["x-weft-step-usd"].split(",")]
    assert sum(told) == pytest.approx(answer["usage"]["usd"])
