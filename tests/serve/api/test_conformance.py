"""The rest of what the official client offers for our endpoints: its helpers, and each field of its types."""

import json
from typing import Any, Literal

import openai
import pytest
from pydantic import BaseModel

from tests.serve.api.test_app import ask
from tests.serve.api.test_endpoints import FLAT
from tests.serve.api.test_openai_client import ASK, Connect
from tests.serve.api.test_openai_client import connected as connected
from tests.serve.api.test_tools import LOOK_UP
from weft.runtime.messages import Ending, ToolCall
from weft.runtime.steps.audio import Audio
from weft.serve.api.app import App
from weft.serve.api.tool_schema import FunctionSpec, Tool
from weft.serve.api.tools import calls_in, tool_terms

HI: Any = [{"role": "user", "content": "hi"}]
STRICT: Any = {**LOOK_UP, "function": {**LOOK_UP["function"], "strict": True}}


class Verdict(BaseModel):
    verdict: Literal["yes", "no"]


async def test_a_model_is_looked_up(app: App, connected: Connect) -> None:
    async with connected(app) as client:
        assert (await client.models.retrieve("chat")).id == "chat"
        with pytest.raises(openai.NotFoundError, match="there is no model 'gpt-9'"):
            await client.models.retrieve("gpt-9")


async def test_answers_are_parsed_into_types(app: App, connected: Connect) -> None:
    async with connected(app) as client:
        chat = await client.chat.completions.parse(model="chat", messages=ASK, response_format=Verdict)
        called = await client.chat.completions.parse(
            model="chat", messages=ASK, tools=[STRICT], tool_choice="required", max_tokens=80
        )
        response = await client.responses.parse(model="chat", input=ASK, text_format=Verdict)
    assert chat.choices[0].message.parsed == response.output_parsed
    assert isinstance(response.output_parsed, Verdict)
    (call,) = called.choices[0].message.tool_calls or ()
    assert call.function.parsed_arguments == json.loads(call.function.arguments)
    assert response.text and response.text.format and response.text.format.type == "json_schema"


async def test_streams_are_put_together_by_the_client(app: App, connected: Connect) -> None:
    async with connected(app) as client:
        whole = await client.chat.completions.create(model="chat", messages=ASK)
        async with client.chat.completions.stream(model="chat", messages=ASK) as chat:
            kinds = [event.type async for event in chat]
            final = await chat.get_final_completion()
        async with client.chat.completions.stream(
            model="chat", messages=ASK, tools=[STRICT], tool_choice="required", max_tokens=80
        ) as calling:
            called = await calling.get_final_completion()
        async with client.responses.stream(model="chat", input=ASK, text_format=Verdict) as typed:
            parsed = (await typed.get_final_response()).output_parsed
        asked: Any = {"model": "chat", "input": ASK, "tools": [{**FLAT, "strict": True}], "tool_choice": "required"}
        async with client.responses.stream(**asked, max_output_tokens=80) as told:
            events = [event.type async for event in told]
            (item,) = (await told.get_final_response()).output
    assert final.choices[0].message.content == whole.choices[0].message.content
    assert kinds[-1] == "content.done" and "content.delta" in kinds
    (call,) = called.choices[0].message.tool_calls or ()
    assert call.function.name == item.name == "look_up"  # pyright: ignore
    assert isinstance(parsed, Verdict)
    assert events[:2] == ["response.created", "response.in_progress"] and events[-1] == "response.completed"


async def test_raw_and_streamed_bodies(app: App, connected: Connect) -> None:
    async with connected(app) as client:
        raw = await client.responses.with_raw_response.create(model="loop", input="ab")
        assert raw.request_id and raw.parse().output_text == "ABAB!!!!"
        async with client.audio.speech.with_streaming_response.create(
            model="speaker", input="hello", voice={"id": "own"}, response_format="pcm"
        ) as speech:
            assert speech.headers["content-type"] == "audio/pcm"
            pcm = b"".join([part async for part in speech.iter_bytes()])
        wav = (
            await client.audio.speech.create(model="speaker", input="hello", voice="own", response_format="wav")
        ).content
        sound = Audio.from_wav_bytes(wav)
        assert len(pcm) == pytest.approx(2 * 24_000 * sound.duration_s, abs=4)
        stream = await client.audio.transcriptions.create(model="ear", file=("a.wav", wav), stream=True)
        events = [event async for event in stream]
    assert events[-1].type == "transcript.text.done" and events[-1].text == str(len(wav))
    assert "".join(event.delta for event in events if event.type == "transcript.text.delta") == str(len(wav))


async def test_log_probabilities_of_a_response(app: App, connected: Connect) -> None:
    asked: Any = {"model": "chat", "input": ASK, "max_output_tokens": 6, "top_logprobs": 2}
    asked["include"] = ["message.output_text.logprobs", "reasoning.encrypted_content"]
    async with connected(app) as client:
        whole = await client.responses.create(**asked)
        events = [each async for each in await client.responses.create(**asked, stream=True)]
        with pytest.raises(openai.BadRequestError, match="top_logprobs goes with logprobs"):
            await client.responses.create(model="chat", input=ASK, top_logprobs=2)
    (part,) = whole.output[0].content  # pyright: ignore
    assert len(part.logprobs) == 6 and len(part.logprobs[0].top_logprobs) == 2
    told = [each for event in events if event.type == "response.output_text.delta" for each in event.logprobs]
    assert [each.token for each in told] == [each.token for each in part.logprobs][: len(told)] and told


TAKEN: dict[str, Any] = {
    "safety_identifier": "u",
    "prompt_cache_key": "k",
    "service_tier": "auto",
    "store": False,
    "user": "u",
    "metadata": {"a": "b"},
    "stream": None,
    "n": 1,
    "stop": None,
    "seed": 3,
    "max_completion_tokens": 2,
}


async def test_fields_that_ask_for_what_is_anyhow_are_taken(app: App) -> None:
    body = json.dumps({"model": "chat", "messages": HI, **TAKEN}).encode()
    status, answer, _ = await ask(app, "POST", "/v1/chat/completions", body)
    assert status == 200, answer
    assert answer["usage"]["prompt_tokens_details"]["cached_tokens"] <= answer["usage"]["prompt_tokens"]
    spoken = {
        "model": "speaker",
        "messages": HI,
        "modalities": ["text", "audio"],
        "audio": {"format": "wav", "voice": "x"},
    }
    assert (await ask(app, "POST", "/v1/chat/completions", json.dumps(spoken).encode()))[0] == 200
    older = {"model": "chat", "prompt": "hi", "max_tokens": 1, "echo": False, "best_of": 1}
    assert (await ask(app, "POST", "/v1/completions", json.dumps(older).encode()))[0] == 200


@pytest.mark.parametrize(
    ("path", "body", "way_out"),
    [
        ("chat/completions", {"messages": HI, "functions": []}, "functions is not taken here: give tools"),
        ("chat/completions", {"messages": HI, "reasoning_effort": "low"}, "let a system message say"),
        ("chat/completions", {"messages": HI, "store": True}, "ask /v1/responses"),
        ("chat/completions", {"messages": HI, "service_tier": "flex"}, "X-Agent-Hints"),
        ("completions", {"prompt": "x", "suffix": "y"}, "nothing is written before a given end"),
        ("responses", {"input": "x", "conversation": "c"}, "go on from a response with previous_response_id"),
        ("responses", {"input": "x", "reasoning": {"effort": "low"}}, "let instructions say"),
        ("responses", {"input": "x", "tools": [{"type": "web_search"}]}, "web_search"),
        ("responses", {"input": [{"type": "reasoning", "summary": []}]}, "there is message, function_call"),
        ("responses", {"input": "x", "truncation": "auto"}, "truncation"),
        ("embeddings", {"input": [1, 2, 3]}, "check_embedding_ctx_length=False"),
        ("embeddings", {"input": [[1], [2]]}, "tokens are another model's words"),
        ("audio/speech", {"input": "x", "voice": "y", "response_format": "mp3"}, "response_format"),
        ("audio/speech", {"input": "x", "voice": "y", "speed": 2}, "an agent speaks at its own pace"),
    ],
)
async def test_what_is_not_taken_tells_the_way_out(app: App, path: str, body: Any, way_out: str) -> None:
    status, answer, _ = await ask(app, "POST", f"/v1/{path}", json.dumps({"model": "chat", **body}).encode())
    assert (status, answer["error"]["type"]) == (400, "invalid_request_error")
    assert way_out in answer["error"]["message"]


def test_of_calls_that_may_not_be_parallel_the_first_is_taken() -> None:
    ending = Ending("tool_calls", (ToolCall("f", "{}"), ToolCall("f", "{}")))
    for parallel, wanted in ((True, 2), (False, 1)):
        terms = tool_terms([Tool(FunctionSpec("f"))], "auto", parallel)
        assert len(calls_in(terms, ending, "")) == wanted
