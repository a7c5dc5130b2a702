"""The official client against a real server: what it asks it gets, and its errors are its own."""

import asyncio
import base64
import contextlib
import json
from collections.abc import AsyncGenerator, Callable

import openai
import pytest
from openai import AsyncOpenAI

from tests.serve.api.conftest import Serve
from weft.runtime.steps.audio import Audio
from weft.serve.api.app import App

ASK = [{"role": "system", "content": "Be short."}, {"role": "user", "content": "What does an H100 cost?"}]


Connect = Callable[[App], contextlib.AbstractAsyncContextManager[AsyncOpenAI]]


@pytest.fixture
def connected(served: Serve) -> Connect:
    @contextlib.asynccontextmanager
    async def connecting(app: App) -> AsyncGenerator[AsyncOpenAI]:
        async with served(app) as url, AsyncOpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0) as client:
            yield client

    return connecting


async def test_models_are_the_agents(app: App, connected: Connect) -> None:
    async with connected(app) as client:
        assert [model.id async for model in client.models.list()] == ["chat", "loop", "speaker", "ear"]


async def test_a_stream_says_what_the_whole_answer_says(app: App, connected: Connect) -> None:
    async with connected(app) as client:
        whole = await client.chat.completions.create(model="chat", messages=ASK)
        stream = await client.chat.completions.create(
            model="chat",
            messages=ASK,
            stream=True,
            stream_options={"include_usage": True},
        )
        chunks = [chunk async for chunk in stream]
    said = [choice.delta.content for chunk in chunks for choice in chunk.choices if choice.delta.content]
    assert len(said) > 10
    assert "".join(said) == whole.choices[0].message.content
    assert [choice.finish_reason for chunk in chunks for choice in chunk.choices][-1] == "stop"
    assert chunks[-1].usage and whole.usage
    assert chunks[-1].usage.completion_tokens == whole.usage.completion_tokens
    assert len({chunk.id for chunk in chunks}) == 1


async def test_usage_tells_what_each_step_cost(app: App, connected: Connect) -> None:
    async with connected(app) as client:
        answer = await client.chat.completions.with_raw_response.create(model="chat", messages=ASK)
    usage = answer.parse().usage
    assert usage and usage.model_extra
    steps = usage.model_extra["steps"]
    assert [each["step"] for each in steps] == ["answer.prefill", "answer.kv", "answer.decode"]
    tokens = usage.prompt_tokens + usage.completion_tokens - 1  # the first comes with the prompt
    assert usage.model_extra["usd"] == pytest.approx(tokens * 2e-6) == sum(each["usd"] for each in steps)
    assert float(answer.headers["x-weft-usd"]) == pytest.approx(tokens * 2e-6, rel=1e-2)
    assert app.agents.by_name["chat"].usd == pytest.approx(tokens * 2e-6)


async def test_an_agent_of_python_runs_many_at_once(app: App, connected: Connect) -> None:
    async with connected(app) as client:

        async def ask(text: str) -> str | None:
            messages = [{"role": "user", "content": text}]
            answer = await client.chat.completions.create(model="loop", messages=messages)
            return answer.choices[0].message.content

        answers = await asyncio.gather(*(ask(f"a{number}") for number in range(12)))
    assert answers == [f"A{number}A{number}".ljust(8, "!") for number in range(12)]
    assert app.agents.by_name["loop"].ended == 12


async def test_speech_comes_with_its_words_or_as_words_alone(app: App, connected: Connect) -> None:
    hello = [{"role": "user", "content": "hello"}]
    async with connected(app) as client:
        spoken = await client.chat.completions.create(model="speaker", messages=hello)
        read = await client.chat.completions.create(model="speaker", messages=hello, modalities=["text"])
        stream = await client.chat.completions.create(model="speaker", messages=hello, stream=True)
        chunks = [chunk async for chunk in stream]
    audio = spoken.choices[0].message.audio
    assert audio and audio.transcript == "HELLO"
    assert Audio.from_wav_bytes(base64.b64decode(audio.data)).duration_s > 0.2
    assert read.choices[0].message.content == "HELLO" and read.choices[0].message.audio is None
    sounds = [audio.data for chunk in chunks if (audio := chunk.choices[0].delta.audio)]
    assert Audio.from_wav_bytes(base64.b64decode(sounds[0])).duration_s > 0.2


async def test_refusals_are_the_clients_own_errors(app: App, connected: Connect) -> None:
    async with connected(app) as client:
        create = client.chat.completions.create
        with pytest.raises(openai.NotFoundError, match="there is no model 'gpt-9'; there is chat, loop, speaker, ear"):
            await create(model="gpt-9", messages=ASK)
        with pytest.raises(openai.BadRequestError, match="logit_bias is not taken here") as caught:
            await create(model="chat", messages=ASK, logit_bias={"1": 1})
        assert caught.value.param == "logit_bias"
        with pytest.raises(openai.BadRequestError, match="draws them itself: leave temperature out"):
            await create(model="loop", messages=ASK[1:], temperature=0.5)
        with pytest.raises(openai.BadRequestError, match=r"top_p: is 2\.0; give above 0"):
            await create(model="chat", messages=ASK, top_p=2.0)
        with pytest.raises(openai.BadRequestError, match="not a conversation: got 2 messages"):
            await create(model="loop", messages=ASK)
        with pytest.raises(openai.InternalServerError, match="this text is not welcome"):
            await create(model="loop", messages=[{"role": "user", "content": "fail"}])
        with pytest.raises(openai.APIError, match="this text is not welcome"):
            stream = await create(model="loop", messages=[{"role": "user", "content": "fail"}], stream=True)
            _ = [chunk async for chunk in stream]


async def test_a_response_says_what_a_chat_says(app: App, connected: Connect) -> None:
    async with connected(app) as client:
        chat = await client.chat.completions.create(model="chat", messages=ASK)
        whole = await client.responses.create(model="chat", instructions="Be short.", input="What does an H100 cost?")
        events = [each async for each in await client.responses.create(model="chat", input=ASK, stream=True)]
    assert whole.output_text == chat.choices[0].message.content
    assert "".join(each.delta for each in events if each.type == "response.output_text.delta") == whole.output_text
    assert events[0].type == "response.created"
    assert events[-1].type == "response.completed"
    assert events[-1].response.output_text == whole.output_text
    assert whole.usage and whole.usage.output_tokens == chat.usage.completion_tokens
    assert [each.sequence_number for each in events] == list(range(len(events)))


async def test_voices_and_ears(app: App, connected: Connect) -> None:
    async with connected(app) as client:
        speech = await client.audio.speech.create(model="speaker", input="hello", voice="none", response_format="wav")
        heard = await client.audio.transcriptions.create(model="ear", file=("a.wav", speech.content))
        as_text = await client.audio.transcriptions.create(
            model="ear", file=("a.wav", speech.content), response_format="text"
        )
        assert heard.text == as_text.strip() == str(len(speech.content))
        with pytest.raises(openai.BadRequestError, match="does not listen: it takes text"):
            await client.audio.transcriptions.create(model="loop", file=("a.wav", b"x"))
        with pytest.raises(openai.BadRequestError, match="language is not taken here"):
            await client.audio.transcriptions.create(model="ear", file=("a.wav", b"x"), language="en")
        with pytest.raises(openai.BadRequestError, match="it does not speak"):
            await client.audio.speech.create(model="loop", input="hello", voice="none", response_format="wav")


async def test_a_seed_draws_the_same_reply_again(app: App, connected: Connect) -> None:
    drawn = {"model": "chat", "messages": ASK, "temperature": 1.5, "top_p": 0.95}
    async with connected(app) as client:
        replies = [await client.chat.completions.create(**drawn, seed=seed) for seed in (1, 1, 2)]
        greedy = await client.chat.completions.create(model="chat", messages=ASK)
    first, again, other = [each.choices[0].message.content for each in replies]
    assert first == again != other
    assert greedy.choices[0].message.content not in (first, other)


async def test_a_reply_ends_where_it_is_told(app: App, connected: Connect) -> None:
    async with connected(app) as client:
        whole = (await client.chat.completions.create(model="chat", messages=ASK)).choices[0].message.content
        short = await client.chat.completions.create(model="chat", messages=ASK, max_tokens=5)
        stop = whole[len(whole) // 2 : len(whole) // 2 + 3]
        stopped = await client.chat.completions.create(model="chat", messages=ASK, stop=stop)
        stream = await client.chat.completions.create(model="chat", messages=ASK, stop=[stop, "never"], stream=True)
        pieces = [chunk.choices[0].delta.content or "" async for chunk in stream]
    assert short.usage.completion_tokens == 5
    assert short.choices[0].finish_reason == "length"
    assert whole.startswith(short.choices[0].message.content)
    assert stopped.choices[0].message.content == whole[: whole.index(stop)] == "".join(pieces)
    assert stopped.choices[0].finish_reason == "stop"


async def test_a_reply_fits_its_schema(app: App, connected: Connect) -> None:
    schema = {
        "type": "object",
        "properties": {"ok": {"type": "boolean"}},
        "required": ["ok"],
        "additionalProperties": False,
    }
    wanted = {"type": "json_schema", "json_schema": {"name": "verdict", "schema": schema}}
    async with connected(app) as client:
        answer = await client.chat.completions.create(model="chat", messages=ASK, response_format=wanted)
    assert json.loads(answer.choices[0].message.content)["ok"] in (True, False)
