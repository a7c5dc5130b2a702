"""n choices, log-probabilities and tools, by the official client."""

import json
from typing import Any

import openai
import pytest

from tests.serve.api.test_openai_client import ASK, Connect
from tests.serve.api.test_openai_client import connected as connected
from weft.serve.api.app import App

LOOK_UP: Any = {
    "type": "function",
    "function": {
        "name": "look_up",
        "description": "Looks something up.",
        "parameters": {
            "type": "object",
            "properties": {"what": {"enum": ["price", "memory"]}},
            "required": ["what"],
            "additionalProperties": False,
        },
    },
}


async def test_choices_are_drawn_apart_and_paid_together(app: App, connected: Connect) -> None:
    drawn: Any = {"model": "chat", "messages": ASK, "temperature": 1.5, "seed": 7, "n": 3}
    async with connected(app) as client:
        whole = await client.chat.completions.create(**drawn)
        one = await client.chat.completions.create(**{**drawn, "n": 1})
        stream = await client.chat.completions.create(**drawn, stream=True, stream_options={"include_usage": True})
        chunks = [chunk async for chunk in stream]
    texts = [choice.message.content for choice in whole.choices]
    assert len(set(texts)) == 3
    assert texts[0] == one.choices[0].message.content
    told = ["", "", ""]
    for choice in (choice for chunk in chunks for choice in chunk.choices):
        told[choice.index] += choice.delta.content or ""
    assert told == texts
    ends = [choice.index for chunk in chunks for choice in chunk.choices if choice.finish_reason]
    assert sorted(ends) == [0, 1, 2]
    assert whole.usage and chunks[-1].usage
    assert whole.usage.completion_tokens == chunks[-1].usage.completion_tokens
    assert len(whole.usage.model_extra["steps"]) == 9  # pyright: ignore[reportOptionalSubscript]


async def test_log_probabilities_are_those_of_the_tokens(app: App, connected: Connect) -> None:
    asked: Any = {"model": "chat", "messages": ASK, "logprobs": True, "top_logprobs": 3, "max_tokens": 6}
    async with connected(app) as client:
        whole = await client.chat.completions.create(**asked)
        chunks = [chunk async for chunk in await client.chat.completions.create(**asked, stream=True)]
        with pytest.raises(openai.BadRequestError, match="top_logprobs goes with logprobs"):
            await client.chat.completions.create(model="chat", messages=ASK, top_logprobs=2)
    logprobs = whole.choices[0].logprobs
    assert logprobs and logprobs.content
    assert len(logprobs.content) == 6
    for token in logprobs.content:
        assert token.logprob == max(each.logprob for each in token.top_logprobs) <= 0  # it is greedy
        assert len(token.top_logprobs) == 3
    streamed = [each for chunk in chunks if (told := chunk.choices[0].logprobs) for each in told.content or ()]
    assert streamed == logprobs.content


@pytest.mark.parametrize("choice", ["required", {"type": "function", "function": {"name": "look_up"}}])
async def test_a_call_that_must_come_fits_its_schema(app: App, connected: Connect, choice: Any) -> None:
    asked: Any = {"model": "chat", "messages": ASK, "tools": [LOOK_UP], "tool_choice": choice}
    async with connected(app) as client:
        whole = await client.chat.completions.create(**asked)
        chunks = [chunk async for chunk in await client.chat.completions.create(**asked, stream=True)]
        message = whole.choices[0].message
        assert message.tool_calls
        call = message.tool_calls[0]
        answers = [
            *ASK,
            message.model_dump(exclude_none=True),
            {"role": "tool", "tool_call_id": call.id, "content": "9"},
        ]
        after = await client.chat.completions.create(model="chat", messages=answers, tools=[LOOK_UP])
    assert (whole.choices[0].finish_reason, message.content) == ("tool_calls", None)
    assert call.function.name == "look_up"
    assert json.loads(call.function.arguments)["what"] in ("price", "memory")
    deltas = [each for chunk in chunks for choice in chunk.choices for each in choice.delta.tool_calls or ()]
    assert [each.function.arguments for each in deltas if each.function] == [call.function.arguments]
    assert not "".join(choice.delta.content or "" for chunk in chunks for choice in chunk.choices)
    assert after.usage and whole.usage and after.usage.prompt_tokens > whole.usage.prompt_tokens


def tool(**function: object) -> dict[str, object]:
    return {"type": "function", "function": {"name": "f", **function}}


@pytest.mark.parametrize(
    ("tools", "choice", "param"),
    [
        ([tool(parameters={"type": "strin"})], None, "tools[0].function.parameters"),
        ([tool(name="no spaces")], None, "tools[0].function.name"),
        ([tool(), tool()], None, "tools"),
        ([tool()], {"type": "function", "function": {"name": "g"}}, "tool_choice"),
        ([], "required", "tool_choice"),
        ([{"type": "retrieval"}], None, "tools[0].type"),
    ],
)
async def test_tools_that_cannot_be_used_are_refused(
    app: App, connected: Connect, tools: Any, choice: Any, param: str
) -> None:
    more = {} if choice is None else {"tool_choice": choice}
    async with connected(app) as client:
        with pytest.raises(openai.BadRequestError) as caught:
            await client.chat.completions.create(model="chat", messages=ASK, tools=tools, **more)
        assert caught.value.param == param
        with pytest.raises(openai.BadRequestError, match="draws them itself: leave tools out"):
            await client.chat.completions.create(model="loop", messages=ASK[1:], tools=[LOOK_UP])
