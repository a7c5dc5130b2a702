"""The little of HTTP that the API needs over ASGI: bounded bodies, JSON, server-sent events, a client that hangs up.

No framework: a request costs what its agent costs, and nothing else (docs/decisions/0014-serving.md).
"""

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, MutableMapping
from dataclasses import dataclass
from typing import Any, TypeVar

import msgspec

from weft.serve.api.errors import ApiError, invalid

Scope = MutableMapping[str, Any]
Event = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Event]]
Send = Callable[[Event], Awaitable[None]]

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Limits:
    """`body_s`: a client may take so long to send its request."""

    body_bytes: int = 32 << 20
    body_s: float = 30.0


class ClientGoneError(Exception):
    """Nobody waits for the answer."""


async def read_body(scope: Scope, receive: Receive, limits: Limits) -> bytes:
    """The whole body. Raises ApiError 413 and 408 beyond the limits, ClientGoneError when the client hangs up."""
    told = header(scope, b"content-length")
    if told is not None and told.isdigit() and int(told) > limits.body_bytes:
        raise _too_large(limits)
    body = bytearray()
    try:
        async with asyncio.timeout(limits.body_s):
            while True:
                event = await receive()
                if event["type"] == "http.disconnect":
                    raise ClientGoneError
                body += event.get("body", b"")
                if len(body) > limits.body_bytes:
                    raise _too_large(limits)
                if not event.get("more_body", False):
                    return bytes(body)
    except TimeoutError:
        message = f"the request was not there after {limits.body_s:g} s"
        raise ApiError(408, message, code="request_timeout") from None


def header(scope: Scope, name: bytes) -> str | None:
    """`name` in lower case."""
    for key, value in scope["headers"]:
        if key == name:
            return value.decode("latin-1")
    return None


def parsed(body: bytes, kind: type[T]) -> T:
    """Raises ApiError 400 that names the field."""
    try:
        return msgspec.json.decode(body, type=kind)
    except msgspec.ValidationError as error:
        raise _invalid(str(error)) from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise invalid(f"the body is not JSON: {error}", code="invalid_json") from None


async def send_json(send: Send, status: int, body: object, headers: Mapping[str, str] | None = None) -> None:
    await send_bytes(send, status, msgspec.json.encode(body), "application/json", headers)


async def send_bytes(
    send: Send, status: int, body: bytes, content_type: str, headers: Mapping[str, str] | None = None
) -> None:
    lines = [(b"content-type", content_type.encode()), (b"content-length", str(len(body)).encode())]
    lines += [(name.encode(), value.encode("latin-1", "replace")) for name, value in (headers or {}).items()]
    await send({"type": "http.response.start", "status": status, "headers": lines})
    await send({"type": "http.response.body", "body": body})


async def send_events(send: Send, pieces: AsyncIterator[object], headers: Mapping[str, str]) -> None:
    """Server-sent events, [DONE] last. The status goes out with the first piece: what fails before it has one too."""
    lines = [(b"content-type", b"text/event-stream; charset=utf-8"), (b"cache-control", b"no-cache")]
    lines += [(name.encode(), value.encode("latin-1", "replace")) for name, value in headers.items()]
    started = False
    try:
        async for piece in pieces:
            if not started:
                await send({"type": "http.response.start", "status": 200, "headers": lines})
                started = True
            await send(_event(msgspec.json.encode(piece)))
    except ApiError as error:
        if not started:
            raise
        await send(_event(msgspec.json.encode(error.body)))  # the status is gone: clients raise on an error event
    await send({"type": "http.response.body", "body": b"data: [DONE]\n\n"})


async def unless_gone(work: Awaitable[T], receive: Receive) -> T:
    """What `work` gives; when the client hangs up first, `work` is cancelled and ClientGoneError raised."""
    task = asyncio.ensure_future(work)
    gone = asyncio.create_task(_disconnected(receive))
    try:
        await asyncio.wait({task, gone}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise ClientGoneError
        return await task
    finally:
        for each in (task, gone):
            each.cancel()
        with contextlib.suppress(BaseException):
            await asyncio.gather(task, gone, return_exceptions=True)


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def _invalid(message: str) -> ApiError:
    """msgspec says "… unknown field `x`" or "… - at `$.path`"."""
    text, _, path = message.partition(" - at `$.")
    inner, unknown = path.rstrip("`"), re.search(r"unknown field `([^`]*)`", text)
    if unknown:
        field = f"{inner}.{unknown[1]}" if inner else unknown[1]
        return invalid(f"{field} is not taken here: leave it out", field, "unknown_parameter")
    return invalid(f"{inner or 'the body'}: {text}", inner or None)


def _event(data: bytes) -> Event:
    return {"type": "http.response.body", "body": b"data: " + data + b"\n\n", "more_body": True}


def _too_large(limits: Limits) -> ApiError:
    return ApiError(413, f"the body is over {limits.body_bytes} bytes", code="request_too_large")
