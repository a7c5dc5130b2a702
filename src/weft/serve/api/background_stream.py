"""A response that is kept, told as a stream: from its beginning, or after an event that was told before.

The number of an event is its place in the answer, not a count: a piece of text that ends after n characters has number
HEAD + n - 1. So it does not matter how the text was cut into pieces, nor which server told it.
"""

from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import aclosing
from typing import TYPE_CHECKING

from weft.runtime.reply_terms import MUST_CALL
from weft.serve.api.background import as_it_is
from weft.serve.api.http import DONE, Request, Sink, Stream, event, uncached
from weft.serve.api.response_items import Json
from weft.serve.api.response_state import message, part
from weft.serve.api.responses import told_at_the_end
from weft.serve.api.runs import PING, with_pings
from weft.serve.response_store import StoredResponse
from weft.serve.runs.journal import Delta

if TYPE_CHECKING:
    from weft.serve.api.app import App

HEAD = 4
"""Events before the first character: of the response two, of its message two."""


def streamed(app: "App", request: Request, stored: StoredResponse, after: int) -> Stream:
    async def tell(sink: Sink) -> None:
        async with aclosing(_told(app, stored)) as events:
            async for each in with_pings(_after(after, events)):
                sink.write(PING if each is None else event(each))
                await sink.drain()
        sink.write(DONE)

    return Stream(tell, uncached(request))


async def _after(after: int, events: AsyncIterator[Json]) -> AsyncGenerator[Json]:
    """Of a piece of text that is known in part, the rest."""
    async for each in events:
        known = after - each["sequence_number"]
        if known < 0:
            text = each.get("delta", "") if each["type"] == "response.output_text.delta" else ""
            yield {**each, "delta": text[known:]} if -known < len(text) else each


async def _told(app: "App", stored: StoredResponse) -> AsyncGenerator[Json]:
    begun: Json = {**stored.response, "status": "in_progress", "output": [], "usage": None, "incomplete_details": None}
    for number, kind in enumerate(("created", "in_progress")):
        yield _event(kind, number, response=begun)
    said = ""
    async with aclosing(_pieces(app, stored)) as pieces:
        async for piece in pieces:
            for each in _text(begun, said, piece):
                yield each
            said += piece
    response = (await as_it_is(app, stored)).response
    for each in _end(begun, said, response):
        yield each


def _end(begun: Json, said: str, response: Json) -> Iterator[Json]:
    items: list[Json] = response["output"]
    whole = str(items[0]["content"][0]["text"]) if items and items[0]["type"] == "message" else ""
    yield from _text(begun, said, whole[len(said) :])
    first, ends = HEAD + max(len(said), len(whole)), [*told_at_the_end(items, _place(begun))]
    for at, each in enumerate(ends):
        yield _event(each.pop("kind"), first + at, **each)
    status = response["status"] if response["status"] in ("completed", "incomplete") else "failed"
    yield _event(status, first + len(ends), response=response)


async def _pieces(app: "App", stored: StoredResponse) -> AsyncGenerator[str]:
    """Of the reply, as it is written; nothing where it is no one model's."""
    run = await app.runs.find(stored.tenant, stored.id) if app.runs is not None else None
    if app.runs is None or run is None:
        return
    agent, said = app.agents.by_name.get(run.agent), 0
    steps = agent.reply_limits if agent is not None and MUST_CALL not in run.terms else ()
    async with aclosing(app.runs.follow(run)) as following:
        async for told in following:
            if isinstance(told, Delta) and told.step in steps:
                new = told.text[max(0, said - told.offset) :]
                said += len(new)
                if new:
                    yield new


def _text(begun: Json, said: str, piece: str) -> Iterator[Json]:
    if piece and not said:
        yield _event("output_item.added", 2, output_index=0, item=message(begun, "in_progress", []))
        yield _event("content_part.added", 3, part=part(""), **_place(begun))
    if piece:
        number = HEAD + len(said) + len(piece) - 1
        yield _event("output_text.delta", number, delta=piece, logprobs=[], **_place(begun))


def _place(begun: Json) -> Json:
    return {"item_id": message(begun, "", [])["id"], "output_index": 0, "content_index": 0}


def _event(kind: str, number: int, **fields: object) -> Json:
    return {"type": f"response.{kind}", "sequence_number": number, **fields}
