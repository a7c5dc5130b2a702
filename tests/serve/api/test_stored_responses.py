"""Responses that are kept, by the official client: a conversation goes on from one, on this server or on the next."""

import asyncio
from pathlib import Path
from typing import Any

import openai
import pytest
from openai import AsyncOpenAI

from tests.serve.api.test_endpoints import FLAT
from tests.serve.api.test_openai_client import ASK, Connect
from tests.serve.api.test_openai_client import connected as connected
from tests.serve.api.test_runs_api import ALICE, BOB
from tests.serve.api.test_runs_api import keeping as keeping
from weft.core.errors import CacheError
from weft.runtime.conversations.sqlite import SqliteDatabase
from weft.serve.api.app import App
from weft.serve.api.keys import Caller, Keys, digest_of
from weft.serve.response_store import DatabaseResponses, MemoryResponses, StoredResponse

FOUR = ("created", "in_progress", "output_item.added", "content_part.added")
FIRST, SECOND = "What does an H100 cost?", "And a B200?"


async def test_a_conversation_goes_on_from_a_response(app: App, connected: Connect, tmp_path: Path) -> None:
    app.responses = DatabaseResponses(SqliteDatabase(tmp_path / "runs.db"))
    async with connected(app) as client:
        create = client.responses.create
        first = await create(model="chat", input=FIRST, instructions="Be short.", max_output_tokens=8)
        app.responses = DatabaseResponses(SqliteDatabase(tmp_path / "runs.db"))  # the next server's
        second = await create(model="chat", input=SECOND, previous_response_id=first.id, max_output_tokens=8)
        said: Any = [
            {"role": "user", "content": FIRST},
            {"role": "assistant", "content": first.output_text},
            {"role": "user", "content": SECOND},
        ]
        whole = await create(model="chat", input=said, max_output_tokens=8, store=False)
        assert second.output_text == whole.output_text  # what was instructed is not carried over
        assert second.previous_response_id == first.id
        assert await client.responses.retrieve(second.id) == second
        newest_first = [item async for item in client.responses.input_items.list(second.id)]
        oldest_first = [item async for item in client.responses.input_items.list(second.id, order="asc", limit=2)]
        assert newest_first == oldest_first[::-1]
        texts = [item.content[0].text for item in oldest_first if item.type == "message"]  # pyright: ignore
        assert texts == [FIRST, first.output_text, SECOND]
        await client.responses.delete(first.id)
        for gone in (first.id, whole.id, "resp_x"):
            with pytest.raises(openai.NotFoundError, match="there is no response"):
                await client.responses.retrieve(gone)
        third = await create(model="chat", input="Why?", previous_response_id=second.id, max_output_tokens=2)
        assert third.usage and second.usage and third.usage.input_tokens > second.usage.input_tokens
        with pytest.raises(openai.BadRequestError, match="send the whole conversation") as caught:
            await create(model="chat", input="x", previous_response_id=first.id)
        assert (caught.value.code, caught.value.param) == ("previous_response_not_found", "previous_response_id")
        with pytest.raises(openai.BadRequestError, match="takes what the user says alone, not a conversation"):
            await create(model="loop", input="x", previous_response_id=second.id)
        with pytest.raises(openai.BadRequestError, match="background: true can be cancelled"):
            await client.responses.cancel(second.id)


async def test_a_tool_is_answered_without_the_conversation(app: App, connected: Connect) -> None:
    asked: Any = {"model": "chat", "tools": [FLAT], "max_output_tokens": 60}
    async with connected(app) as client:
        events = await client.responses.create(input=ASK, tool_choice="required", stream=True, **asked)  # pyright: ignore
        called = [each async for each in events][-1].response
        (call,) = called.output
        done: Any = {"type": "function_call_output", "call_id": call.call_id, "output": "9 dollars"}
        after = await client.responses.create(input=[done], previous_response_id=called.id, **asked)
        items = [item async for item in client.responses.input_items.list(after.id, order="asc")]
    assert [item.type for item in items] == ["message", "message", "function_call", "function_call_output"]
    assert items[2].call_id == items[3].call_id == call.call_id  # pyright: ignore
    assert after.usage and called.usage and after.usage.input_tokens > called.usage.input_tokens


async def test_what_is_anothers_is_not_there(app: App, connected: Connect) -> None:
    app.guard.keys = Keys({digest_of(ALICE): Caller("a", "alice"), digest_of(BOB): Caller("b", "bob")})
    async with connected(app) as client:
        alice, bob = client.with_options(api_key=ALICE), client.with_options(api_key=BOB)
        hers = await alice.responses.create(model="loop", input="ab")
        assert (await alice.responses.retrieve(hers.id)).output_text == "ABAB!!!!"
        for work in (
            bob.responses.retrieve(hers.id),
            bob.responses.delete(hers.id),
            bob.responses.cancel(hers.id),
            bob.responses.input_items.list(hers.id)._get_page(),  # pyright: ignore
        ):
            with pytest.raises(openai.NotFoundError):
                await work
        with pytest.raises(openai.BadRequestError, match="there is no response"):
            await bob.responses.create(model="chat", input="x", previous_response_id=hers.id)


async def test_a_response_that_cannot_be_kept_says_so(app: App, connected: Connect) -> None:
    class Full(MemoryResponses):
        async def keep(self, stored: StoredResponse) -> None:
            raise CacheError(subject="runs", problem="disk full", way_out="wait")

    app.responses = Full()
    async with connected(app) as client:
        answer = await client.responses.create(model="loop", input="ab")
    assert (answer.output_text, answer.model_extra) == ("ABAB!!!!", {"store": False, **(answer.model_extra or {})})
    assert answer.model_extra and answer.model_extra["store"] is False


async def until_ended(client: AsyncOpenAI, id: str) -> Any:
    async with asyncio.timeout(20):
        while (found := await client.responses.retrieve(id)).status in ("queued", "in_progress"):
            await asyncio.sleep(0.01)
        return found


async def test_a_background_response_is_a_durable_run(keeping: App, connected: Connect) -> None:
    asked: Any = {"model": "chat", "input": ASK, "max_output_tokens": 8}
    tools: Any = {"tools": [FLAT], "tool_choice": "required", "max_output_tokens": 80}
    async with connected(keeping) as client:
        waited = await client.responses.create(**asked)
        begun = await client.responses.create(**asked, background=True)
        assert begun.status == "queued" and begun.background and not begun.output
        found = await until_ended(client, begun.id)
        assert (found.status, found.output_text) == (waited.status, waited.output_text)
        assert found.usage and waited.usage and found.usage.output_tokens == waited.usage.output_tokens
        assert keeping.runs is not None
        assert (await keeping.runs.find("anyone", begun.id)) is not None
        calls = await client.responses.create(**{**asked, **tools}, background=True)
        (call,) = (await until_ended(client, calls.id)).output
        assert call.name == "look_up"
        again = await client.responses.retrieve(calls.id)
        assert again.output[0].call_id == call.call_id  # pyright: ignore
        await client.responses.delete(begun.id)
        assert (await keeping.runs.find("anyone", begun.id)) is None
        failing = await client.responses.create(model="loop", input="fail", background=True)
        failed = await until_ended(client, failing.id)
        assert failed.status == "failed" and "not welcome" in failed.error.message


def text_of(events: list[Any]) -> str:
    return "".join(each.delta for each in events if each.type == "response.output_text.delta")


async def test_a_background_stream_goes_on_after_any_of_its_events(keeping: App, connected: Connect) -> None:
    asked: Any = {"model": "chat", "input": ASK, "max_output_tokens": 12}
    tools: Any = {"tools": [FLAT], "tool_choice": "required", "max_output_tokens": 80}
    async with connected(keeping) as client:

        async def told(id: str, after: int) -> list[Any]:
            stream = await client.responses.retrieve(id, stream=True, starting_after=after)
            return [each async for each in stream]

        async with client.responses.stream(**asked, background=True) as stream:
            events = [each async for each in stream]
        final = events[-1].response
        kinds = [each.type for each in events]
        assert kinds[:4] == [f"response.{kind}" for kind in FOUR] and kinds[-1] == f"response.{final.status}"
        numbers = [each.sequence_number for each in events]
        assert numbers == sorted(set(numbers))
        assert text_of(events) == final.output_text == (await client.responses.create(**asked)).output_text
        for after in (0, 3, 4, 6, numbers[-3], numbers[-2]):  # also in the midst of a piece of text
            rest = await told(final.id, after)
            assert text_of(rest) == final.output_text[max(0, after - 3) :]
            assert rest[-1].response.output == final.output
        assert await told(final.id, numbers[-1]) == []
        waited = await client.responses.create(**asked)
        assert text_of(await told(waited.id, -1 + 1)) == waited.output_text  # any that is kept
        events = [each async for each in await client.responses.create(**asked | tools, background=True, stream=True)]
        assert "response.function_call_arguments.done" in [each.type for each in events]
        events = [
            each
            async for each in await client.responses.create(model="loop", input="fail", background=True, stream=True)
        ]
        assert events[-1].type == "response.failed" and "not welcome" in events[-1].response.error.message
        with pytest.raises(openai.BadRequestError, match="starting_after"):
            await told(final.id, -2)


async def test_a_background_response_is_cancelled(keeping: App, connected: Connect) -> None:
    async with connected(keeping) as client:
        begun = await client.responses.create(model="loop", input="hang", background=True)
        await asyncio.sleep(0.05)
        with pytest.raises(openai.ConflictError, match="cancel it first"):
            await client.responses.delete(begun.id)
        assert (await client.responses.cancel(begun.id)).status == "cancelled"
        assert keeping.agents.running == 0
        assert (await client.responses.cancel(begun.id)).status == "cancelled"
        with pytest.raises(openai.BadRequestError, match="is cancelled: nothing can go on from it"):
            await client.responses.create(model="chat", input="x", previous_response_id=begun.id)


async def test_what_the_background_cannot_do_is_refused(keeping: App, connected: Connect) -> None:
    async with connected(keeping) as client:
        logprobs: Any = {"include": ["message.output_text.logprobs"]}
        for more, way_out in (({"store": False}, "leave store out"), (logprobs, "leave them out")):
            with pytest.raises(openai.BadRequestError, match=way_out):
                await client.responses.create(model="chat", input="x", background=True, **more)
        key = {"Idempotency-Key": "k"}
        twice = [
            await client.responses.create(model="loop", input="ab", background=True, extra_headers=key)
            for _ in range(2)
        ]
        assert twice[0].id == twice[1].id
        kept, keeping.runs = keeping.runs, None
        with pytest.raises(openai.APIStatusError, match="start it with --runs FILE"):
            await client.responses.create(model="loop", input="x", background=True)
        keeping.runs = kept
