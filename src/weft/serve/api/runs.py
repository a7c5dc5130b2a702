"""/v1/runs: agent runs that nobody has to wait for. Submitted, they go on whatever happens to the server or the client;
polled, followed, answered, cancelled by their id. /v1/sessions: what conversations have come to."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import parse_qs

import msgspec
from msgspec import Struct

from weft.core.errors import InputError, WeftError
from weft.core.message import Message
from weft.runtime.conversations.store import ConversationStore, check_names
from weft.runtime.values import Value
from weft.serve.agents import ServedAgent
from weft.serve.api.conversation import agent_inputs, said_by
from weft.serve.api.errors import ApiError, as_api_error, invalid
from weft.serve.api.http import EVENTS, Reply, Request, Sink, Stream, header, json_reply, parsed, uncached
from weft.serve.api.run_answers import event_bytes, run_answer
from weft.serve.api.schema import RunRequest
from weft.serve.api.terms import terms_of
from weft.serve.api.trace import trace_of
from weft.serve.ids import fresh
from weft.serve.runs.journal import thread_of
from weft.serve.runs.log import KeyReusedError
from weft.serve.runs.replay import fingerprint
from weft.serve.runs.run import ENDED, Run, Status
from weft.serve.runs.runs import Runs
from weft.serve.runs.webhooks import Webhooks

if TYPE_CHECKING:
    from weft.serve.api.app import App

PAGE, LONGEST_PAGE = 20, 100
LONGEST_NUMBER = 18  # digits of what fits into 64 bits
T = TypeVar("T")
PING_S = 15.0
PING = b": still here\n\n"


class Answer(Struct, frozen=True, forbid_unknown_fields=True):
    """What a person says. `step` names the one that waits, where several do; an empty answer lets it go on as it is."""

    answer: str
    step: str = ""


async def submit(app: "App", request: Request) -> Reply:
    """202: it is kept. With Idempotency-Key the same run is not begun twice."""
    asked = parsed(request.body, RunRequest)
    request.bill.model = asked.model
    agent = app.admitted(asked.model)
    check_durable(agent)
    runs = runs_of(app)
    try:
        if asked.webhook:
            _webhooks(runs).check(asked.webhook)
        check_names(asked.session or "")
        kept = await runs.submit(await _run_of(app, request, asked, runs, fingerprint(agent.deployment.program)))
    except KeyReusedError as error:
        raise ApiError(409, str(error), code="idempotency_key_reused") from None
    except WeftError as error:
        raise as_api_error(error) from None
    return json_reply(run_answer(kept), status=202)


async def find(app: "App", request: Request) -> Reply:
    run = await _found(app, request)
    return json_reply(run_answer(run, await asyncio.to_thread(runs_of(app).log.events, run.id)))


async def listed(app: "App", request: Request) -> Reply:
    runs, asked = runs_of(app), {name: values[0] for name, values in parse_qs(request.query).items()}
    try:
        most = min(LONGEST_PAGE, int(asked.get("limit", PAGE)))
        status = Status(asked["status"]) if "status" in asked else None
    except ValueError as error:
        raise invalid(str(error), "limit or status") from None
    if most < 1:
        raise invalid("give a limit of at least 1", "limit")
    tenant = request.caller.tenant
    before = await runs.find(tenant, asked["after"]) if "after" in asked else None
    if "after" in asked and before is None:
        raise invalid(f"there is no run {asked['after']!r}", "after")
    found = await asyncio.to_thread(runs.log.runs, tenant, status, before, most + 1)
    data = [run_answer(run) for run in found[:most]]
    return json_reply({"object": "list", "data": data, "has_more": len(found) > most})


async def follow(app: "App", request: Request) -> Reply:
    """Server-sent events. With Last-Event-ID they go on after that one."""
    run, runs = await _found(app, request), runs_of(app)
    last = header(request, b"last-event-id") or "-1"
    if not last.removeprefix("-").isdecimal() or len(last) > LONGEST_NUMBER:
        raise invalid("Last-Event-ID is the number of an event", "Last-Event-ID")

    async def tell(sink: Sink) -> None:
        async with aclosing(runs.follow(run, int(last))) as following:
            async for told in with_pings(following):
                sink.write(PING if told is None else event_bytes(told))
                await sink.drain()
        if not sink.started:
            sink.write(PING)  # nothing has happened since: the stream is empty, and over

    return Stream(tell, uncached(request), EVENTS)


async def cancel(app: "App", request: Request) -> Reply:
    """Once it is answered, no step of the run goes on."""
    return json_reply(run_answer(await runs_of(app).cancel(await _found(app, request))))


async def resume(app: "App", request: Request) -> Reply:
    said = parsed(request.body, Answer)
    run = await _found(app, request)
    try:
        return json_reply(run_answer(await runs_of(app).answer(run, said.answer, said.step)))
    except InputError as error:
        raise ApiError(409, str(error), code="nothing_waits") from None


async def forget(app: "App", request: Request) -> Reply:
    run = await _found(app, request)
    if run.status not in ENDED:
        raise ApiError(409, f"run {run.id} is {run.status}: cancel it first", code="run_has_not_ended")
    await asyncio.to_thread(runs_of(app).log.forget, run.id)
    return json_reply({"id": run.id, "object": "run", "deleted": True})


async def sessions(app: "App", request: Request) -> Reply:
    found = await asyncio.to_thread(_sessions(app).conversations, request.caller.tenant)
    data = [{"id": each.name, "object": "session", "messages": each.messages, "at": int(each.at_s)} for each in found]
    return json_reply({"object": "list", "data": data, "has_more": False})


async def session(app: "App", request: Request) -> Reply:
    name = request.named["session"]
    said = await asyncio.to_thread(_sessions(app).history, request.caller.tenant, name)
    if not said:
        raise ApiError(404, f"there is no session {name!r}", code="session_not_found")
    messages = [{"role": each.role, "content": each.content} for each in said]
    return json_reply({"id": name, "object": "session", "messages": messages})


async def forget_session(app: "App", request: Request) -> Reply:
    name, tenant = request.named["session"], request.caller.tenant
    await asyncio.to_thread(_sessions(app).delete, tenant, name)
    for agent in app.agents.by_name.values():
        if agent.driver is not None:
            agent.driver.forget(thread_of(tenant, name))
    return json_reply({"id": name, "object": "session", "deleted": True})


async def _run_of(app: "App", request: Request, asked: RunRequest, runs: Runs, program: str) -> Run:
    served = app.agents.by_name[asked.model]
    agent = served.deployment.program
    name = asked.session or header(request, b"x-session-id") or ""
    store, before = _sessions(app) if name else None, tuple[Message, ...]()
    if store is not None and served.driver is None and agent.input_types == ("messages",):  # else it remembers itself
        before = await asyncio.to_thread(store.history, request.caller.tenant, name)
    inputs = agent_inputs(agent, asked.messages)
    if before:
        inputs = {key: _after(before, value) for key, value in inputs.items()}
    key = header(request, b"idempotency-key") or ""
    return Run(
        id=f"run_{fresh()}",
        tenant=request.caller.tenant,
        agent=asked.model,
        fingerprint=program,
        inputs=inputs,
        created_s=time.time(),
        terms=terms_of(agent, asked),
        key=key,
        asked=msgspec.json.encode(asked, order="deterministic").hex() if key else "",
        session=name,
        said=said_by(asked.messages) if name else (),
        webhook=asked.webhook or "",
        metadata=asked.metadata or {},
        trace=trace_of(request),
    )


def _after(before: tuple[Message, ...], said: Value) -> Value:
    assert isinstance(said, tuple), "the agent takes messages"
    return (*before, *said)


async def with_pings(following: AsyncIterator[T]) -> AsyncIterator[T | None]:
    """None where nothing has happened for a while: connections that are silent are cut on the way."""
    pending = asyncio.ensure_future(anext(following, None))
    try:
        while True:
            done, _ = await asyncio.wait({pending}, timeout=PING_S)
            if not done:
                yield None
                continue
            if (told := pending.result()) is None:
                return
            yield told
            pending = asyncio.ensure_future(anext(following, None))
    finally:
        pending.cancel()
        await asyncio.gather(pending, return_exceptions=True)


def check_durable(agent: ServedAgent) -> None:
    if agent.driver is not None and not agent.driver.keeps:
        message = f"{agent.name!r} drives itself, and nothing of it is kept here: ask /v1/chat/completions"
        raise invalid(message, "model", "agent_drives_itself")


def runs_of(app: "App") -> Runs:
    if app.runs is None:
        message = "this server keeps no runs: start it with --runs FILE"
        raise ApiError(501, message, code="runs_are_not_kept")
    return app.runs


async def _found(app: "App", request: Request) -> Run:
    """The caller's own: of others' runs not even their being is told."""
    id = request.named["run"]
    run = await runs_of(app).find(request.caller.tenant, id)
    if run is None:
        raise ApiError(404, f"there is no run {id!r}", code="run_not_found")
    return run


def _webhooks(runs: Runs) -> Webhooks:
    if runs.webhooks is None:
        raise invalid("this server calls no webhooks: start it with --webhook-secret and --webhook-host", "webhook")
    return runs.webhooks


def _sessions(app: "App") -> ConversationStore:
    if app.runs is None or app.runs.sessions is None:
        raise ApiError(501, "this server keeps no sessions: start it with --runs FILE", code="sessions_are_not_kept")
    return app.runs.sessions
