"""A model that a server runs, behind our API: our own server, and one that answers as a test tells it."""

import contextlib
import json
from collections.abc import AsyncGenerator
from typing import Any, cast

import openai
import pytest
from openai.types.chat import ChatCompletion
from openai.types.chat.chat_completion_message_function_tool_call import Function

pytest.importorskip("httpx")

from tests.runtime.openai_server import running, stream
from tests.serve.api.conftest import Serve
from tests.serve.api.test_openai_client import ASK, Connect
from tests.serve.api.test_openai_client import connected as connected
from tests.serve.api.test_tools import LOOK_UP
from tests.serve.deployments import MAX_TOKENS, deployment, route, step
from weft.core.deployment import Deployment
from weft.core.program import Block, Program, StepKind, Terminator
from weft.runtime.client import NodeClient
from weft.runtime.node import Node
from weft.runtime.remote_spec import RemoteSpec
from weft.runtime.services import LLM_KINDS, load_services
from weft.runtime.spec import NodeSpec
from weft.runtime.transport.memory import MemoryTransport
from weft.serve.agents import Agents, ServedAgent
from weft.serve.api.app import App

TOOLS: Any = {"model": "chat", "messages": ASK, "tools": [LOOK_UP]}


def on_a_server() -> Deployment:
    steps = (
        step("answer.prefill", StepKind.PREFILL, "chat", "kv", max_tokens=MAX_TOKENS),
        step("answer.decode", StepKind.DECODE, "kv", "reply", max_tokens=MAX_TOKENS),
    )
    program = Program("chat", (Block("entry", ("chat",), steps, Terminator(returns=("reply",))),), ("messages",))
    return deployment(program, tuple(route(each.name, "llm") for each in steps))


@contextlib.asynccontextmanager
async def before(url: str) -> AsyncGenerator[App]:
    """The same agent, its model on a server."""
    spec, transport = RemoteSpec("chat", url), MemoryTransport()
    remotes: dict[str, RemoteSpec] = {"answer.prefill": spec, "answer.decode": spec}
    node = Node(load_services(NodeSpec("llm", "cpu", LLM_KINDS, remotes=remotes)), transport)
    client = await NodeClient.open("llm", transport, await node.listen())
    try:
        yield App(Agents({"chat": ServedAgent(on_a_server(), {"llm": client})}))
    finally:
        await client.close()
        await node.close()


async def heard(client: openai.AsyncOpenAI, **asked: Any) -> tuple[str, list[str], str | None]:
    """Text, tokens by their log-probabilities, and how it ended, of a stream."""
    text, tokens, end = "", list[str](), None
    async for chunk in await client.chat.completions.create(**asked, stream=True):
        for choice in chunk.choices:
            text += choice.delta.content or ""
            tokens += [each.token for each in (choice.logprobs and choice.logprobs.content) or ()]
            end = choice.finish_reason or end
    return text, tokens, end


async def whole(client: openai.AsyncOpenAI, **asked: Any) -> ChatCompletion:
    return cast("ChatCompletion", await client.chat.completions.create(**asked))


def called(answer: ChatCompletion) -> Function:
    """The one tool call of an answer."""
    calls = answer.choices[0].message.tool_calls
    assert calls and len(calls) == 1 and calls[0].type == "function"
    return calls[0].function


async def test_a_server_says_through_us_what_it_says_itself(app: App, connected: Connect, served: Serve) -> None:
    drawn: Any = {"model": "chat", "messages": ASK, "temperature": 1.5, "seed": 7, "max_tokens": 8, "stop": ["zzzz"]}
    likely: Any = {**drawn, "logprobs": True, "top_logprobs": 2}
    async with served(app) as url, before(f"{url}/v1") as ours, connected(app) as direct, connected(ours) as through:
        assert await heard(through, **drawn) == await heard(direct, **drawn)
        assert await heard(through, **likely) == await heard(direct, **likely)
        own, its = await whole(through, **likely), await whole(direct, **likely)
        assert own.choices[0].logprobs == its.choices[0].logprobs
        assert own.choices[0].finish_reason == its.choices[0].finish_reason == "length"
        assert own.usage and its.usage and own.usage.completion_tokens == its.usage.completion_tokens
        forced: Any = {**TOOLS, "max_tokens": 48, "tool_choice": {"type": "function", "function": {"name": "look_up"}}}
        call = called(await whole(through, **forced))
        assert call.name == "look_up" and json.loads(call.arguments)["what"] in ("price", "memory")


async def test_a_server_is_told_what_tools_said(connected: Connect) -> None:
    deltas: list[Any] = [
        {"tool_calls": [{"index": 0, "id": "x", "function": {"name": "look_up", "arguments": ""}}]},
        {"tool_calls": [{"index": 0, "function": {"arguments": '{"what": '}}]},
        {"tool_calls": [{"index": 0, "function": {"arguments": '"price"}'}}]},
    ]
    choices: list[Any] = [{"delta": each} for each in deltas] + [{"delta": {}, "finish_reason": "tool_calls"}]
    events = [b"data: " + json.dumps({"choices": [each]}).encode() + b"\n\n" for each in choices]
    call: Any = {"id": "c1", "type": "function", "function": {"name": "look_up", "arguments": '{"what": "memory"}'}}
    history: Any = [
        *ASK,
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c1", "content": "80 GB"},
    ]
    async with running(stream(*events)) as server, before(server.url) as ours, connected(ours) as client:
        answer = await whole(client, **{**TOOLS, "messages": history}, parallel_tool_calls=True)
    assert called(answer).arguments == '{"what": "price"}'
    assert answer.choices[0].finish_reason == "tool_calls" and answer.choices[0].message.content is None
    told = server.asked[0].json
    assert told["messages"][-2:] == history[-2:]
    assert told["tools"] == [LOOK_UP] and "temperature" not in told and "tool_choice" not in told
