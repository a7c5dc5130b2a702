"""/v1/responses and what is kept of them: made, gone on from, looked up, listed, forgotten, cancelled.

Of others' responses not even their being is told.
"""

import logging
from typing import TYPE_CHECKING
from urllib.parse import parse_qs

from weft.core.errors import CacheError, CapacityError
from weft.serve.api import background
from weft.serve.api.background_stream import streamed
from weft.serve.api.costs import told
from weft.serve.api.errors import ApiError, invalid
from weft.serve.api.hints import hints_of
from weft.serve.api.http import Reply, Request, events, json_reply, parsed, uncached
from weft.serve.api.response_items import Json, read_items
from weft.serve.api.response_schema import ResponseRequest
from weft.serve.api.responses import Keep, ResponseRun, nobody_keeps
from weft.serve.api.runs import LONGEST_NUMBER
from weft.serve.response_store import StoredResponse

if TYPE_CHECKING:
    from weft.serve.api.app import App

PAGE, LONGEST_PAGE = 20, 100
_log = logging.getLogger(__name__)


async def create(app: "App", request: Request) -> Reply:
    asked = parsed(request.body, ResponseRequest)
    request.bill.model = asked.model
    agent = app.admitted(asked.model)
    before = await _before(app, request, asked.previous_response_id)
    new = [each.as_kept() for each in read_items(asked.input)]
    items = [*before, *new]
    if asked.background:
        stored = await background.begin(app, request, asked, items)
        return streamed(app, request, stored, -1) if asked.stream else json_reply(stored.response)
    run = ResponseRun.of(agent, asked, read_items(items), request.bill, hints_of(request, None))
    run.keep = _keeper(app, request, items) if asked.kept else nobody_keeps
    if asked.stream:
        return events(run.events(), uncached(request))
    response = await run.response()
    return json_reply(response, told(run.reply.usage, request))


async def find(app: "App", request: Request) -> Reply:
    """With stream=true as a stream, from after the event `starting_after`."""
    asked, stored = _asked(request), await _found(app, request)
    if asked.get("stream") != "true":
        return json_reply(stored.response)
    after = asked.get("starting_after", "")
    if after and not (after.isascii() and after.isdigit() and len(after) <= LONGEST_NUMBER):
        raise invalid("starting_after is the number of an event", "starting_after")
    return streamed(app, request, stored, int(after or -1))


async def forget(app: "App", request: Request) -> Reply:
    stored = await _found(app, request)
    if stored.response["status"] in background.UNDER_WAY:
        raise ApiError(409, f"response {stored.id} is under way: cancel it first", code="response_has_not_ended")
    await app.responses.forget(stored.tenant, stored.id)
    await background.forget(app, stored)
    return json_reply({"id": stored.id, "object": "response", "deleted": True})


async def cancel(app: "App", request: Request) -> Reply:
    """Once it is answered, no step of it goes on."""
    stored = await _found(app, request)
    if not stored.response["background"]:
        raise invalid("only a response that was made with background: true can be cancelled", "response_id")
    return json_reply(await background.cancel(app, stored))


async def input_items(app: "App", request: Request) -> Reply:
    """All that it answers, the responses before it included; the newest first."""
    stored, asked = await _found(app, request), _asked(request)
    order, limit = asked.get("order", "desc"), asked.get("limit", str(PAGE))
    if order not in ("asc", "desc"):
        raise invalid("order is asc or desc", "order")
    if not (limit.isascii() and limit.isdigit() and len(limit) < 4 and 1 <= int(limit) <= LONGEST_PAGE):
        raise invalid(f"limit is a number from 1 to {LONGEST_PAGE}", "limit")
    items = stored.items if order == "asc" else stored.items[::-1]
    if "after" in asked:
        at = next((at for at, each in enumerate(items) if each["id"] == asked["after"]), None)
        if at is None:
            raise invalid(f"response {stored.id} has no item {asked['after']!r}", "after")
        items = items[at + 1 :]
    page = items[: int(limit)]
    ends = {"first_id": page[0]["id"], "last_id": page[-1]["id"]} if page else {"first_id": None, "last_id": None}
    return json_reply({"object": "list", "data": page, **ends, "has_more": len(items) > len(page)})


async def _before(app: "App", request: Request, previous: str | None) -> list[Json]:
    """The conversation up to and with an earlier response. What it was instructed is not carried over."""
    if previous is None:
        return []
    stored = await _kept(app, request.caller.tenant, previous)
    if stored is None:
        message = f"there is no response {previous!r} here (any more): send the whole conversation as input"
        raise invalid(message, "previous_response_id", "previous_response_not_found")
    if stored.response["status"] not in ("completed", "incomplete"):
        message = f"response {previous!r} is {stored.response['status']}: nothing can go on from it"
        raise invalid(message, "previous_response_id", "previous_response_not_completed")
    return [*stored.items, *stored.response["output"]]


def _keeper(app: "App", request: Request, items: list[Json]) -> Keep:
    """A response that cannot be kept is told all the same, and says so: its `store` is false."""
    tenant = request.caller.tenant

    async def keep(response: Json) -> Json:
        try:
            stored = StoredResponse(response["id"], tenant, float(response["created_at"]), items, response)
            await app.responses.keep(stored)
        except (CacheError, CapacityError) as error:
            _log.error("%s is not kept: %s", response["id"], error)
            return {**response, "store": False}
        return response

    return keep


async def _found(app: "App", request: Request) -> StoredResponse:
    id = request.named["response"]
    stored = await _kept(app, request.caller.tenant, id)
    if stored is None:
        raise ApiError(404, f"there is no response {id!r}", code="response_not_found")
    return stored


async def _kept(app: "App", tenant: str, id: str) -> StoredResponse | None:
    try:
        stored = await app.responses.find(tenant, id)
        return stored if stored is None else await background.as_it_is(app, stored)
    except CacheError as error:
        raise ApiError(503, str(error), code="responses_cannot_be_read") from None


def _asked(request: Request) -> dict[str, str]:
    return {name: values[-1] for name, values in parse_qs(request.query).items()}
