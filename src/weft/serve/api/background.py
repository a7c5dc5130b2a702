"""Responses that nobody waits for: each is a durable run (/v1/runs) of the same id, told as a response."""

import asyncio
import contextlib
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

import msgspec

from weft.core.errors import WeftError
from weft.runtime.values import as_text
from weft.serve.api.conversation import agent_inputs
from weft.serve.api.errors import ApiError, as_api_error, invalid
from weft.serve.api.http import Request, header
from weft.serve.api.response_items import Json, read_items
from weft.serve.api.response_schema import ResponseRequest
from weft.serve.api.response_state import begun, ended, failed, fresh_id, items_of
from weft.serve.api.run_answers import calls_of, ending_of, usage_of
from weft.serve.api.runs import check_durable, runs_of
from weft.serve.api.terms import terms_of
from weft.serve.api.trace import trace_of
from weft.serve.response_store import StoredResponse
from weft.serve.runs.log import KeyReusedError
from weft.serve.runs.replay import fingerprint
from weft.serve.runs.run import LogEvent, Run, Status

if TYPE_CHECKING:
    from weft.serve.api.app import App

UNDER_WAY = ("queued", "in_progress")


async def begin(app: "App", request: Request, asked: ResponseRequest, items: list[Json]) -> StoredResponse:
    """Kept before it begins, so that what runs can be found. With Idempotency-Key it is not begun twice."""
    if not asked.kept:
        raise invalid("what is made in the background has to be kept: leave store out", "store")
    if asked.logprobs:
        raise invalid("log-probabilities are not kept of what is made in the background: leave them out", "include")
    runs, run = runs_of(app), _run_of(app, request, asked, items)
    response = begun(asked, run.id, int(run.created_s), asked.model)
    stored = StoredResponse(run.id, run.tenant, run.created_s, items, response)
    try:
        await app.responses.keep(stored)
        kept = await runs.submit(run)
        if kept.id != run.id:
            await app.responses.forget(run.tenant, run.id)
            response = {**response, "id": kept.id, "created_at": int(kept.created_s)}
            stored = msgspec.structs.replace(stored, id=kept.id, created_s=kept.created_s, response=response)
    except KeyReusedError as error:
        raise ApiError(409, str(error), code="idempotency_key_reused") from None
    except WeftError as error:
        raise as_api_error(error) from None
    return stored


async def as_it_is(app: "App", stored: StoredResponse) -> StoredResponse:
    """Of any response what it is now; how it ended is kept."""
    if stored.response["status"] not in UNDER_WAY:
        return stored
    now = msgspec.structs.replace(stored, response=await _state(app, stored))
    if now.response["status"] not in UNDER_WAY:
        with contextlib.suppress(WeftError):  # its run tells it again
            await app.responses.keep(now)
    return now


async def _state(app: "App", stored: StoredResponse) -> Json:
    run = await app.runs.find(stored.tenant, stored.id) if app.runs is not None else None
    if run is None:
        return failed(stored.response, "its run is not in this server's log")
    assert app.runs is not None
    return _told(stored.response, run, await asyncio.to_thread(app.runs.log.events, run.id))


async def cancel(app: "App", stored: StoredResponse) -> Json:
    """One that has ended stays as it is."""
    if stored.response["status"] not in UNDER_WAY:
        return stored.response
    runs = runs_of(app)
    run = await runs.find(stored.tenant, stored.id)
    if run is not None:
        await runs.cancel(run)
    return (await as_it_is(app, stored)).response


async def forget(app: "App", stored: StoredResponse) -> None:
    if stored.response["background"] and app.runs is not None:
        await asyncio.to_thread(app.runs.log.forget, stored.id)


def _told(response: Json, run: Run, events: Sequence[LogEvent]) -> Json:
    match run.status:
        case Status.COMPLETED:
            said = as_text(run.values[0])
            if said is None:  # it was spoken: its words
                words = [value for each in events for value in each.values if isinstance(value, str)]
                said = words[-1] if words else ""
            items, ending = items_of(response, said, calls_of(run, events)), ending_of(events)
            return ended(response, items, usage_of(events), cut=ending is not None and ending.finish == "length")
        case Status.CANCELLED:
            return {**response, "status": "cancelled"}
        case Status.FAILED | Status.UNSURE:
            return failed(response, run.error)
        case Status.QUEUED:
            return response
        case _:
            return {**response, "status": "in_progress"}


def _run_of(app: "App", request: Request, asked: ResponseRequest, items: list[Json]) -> Run:
    agent = app.agents.by_name[asked.model]
    check_durable(agent)
    program, chat = agent.deployment.program, asked.as_chat(read_items(items))
    key = header(request, b"idempotency-key") or ""
    return Run(
        id=fresh_id(),
        tenant=request.caller.tenant,
        agent=asked.model,
        fingerprint=fingerprint(program),
        inputs=agent_inputs(program, chat.messages),
        created_s=time.time(),
        terms=terms_of(program, chat),
        key=key,
        asked=msgspec.json.encode(asked, order="deterministic").hex() if key else "",
        metadata=asked.metadata or {},
        trace=trace_of(request),
    )
