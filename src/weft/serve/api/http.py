"""What an endpoint sees of HTTP: a request that is all there, and a reply that is whole or a stream.

An endpoint is one function from `Request` to `Reply`. It knows neither sockets nor who serves it: door.py (our own
protocol on a socket) and asgi.py (any ASGI server) both call `Answers.answer` (docs/decisions/0018-the-door.md).
"""

import codecs
import functools
import logging
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Protocol, TypeVar

import msgspec

from weft.serve.api.bill import Bill
from weft.serve.api.errors import ApiError, invalid
from weft.serve.api.keys import ANYONE, Caller

JSON = "application/json"
EVENTS = "text/event-stream; charset=utf-8"
DONE = b"data: [DONE]\n\n"
NOTHING: Mapping[str, str] = MappingProxyType({})

T = TypeVar("T")
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Limits:
    """What a client may send, and how long it may take: its head, the rest of its request, nothing at all (`idle_s`),
    or no more of the answer (`stalled_s`). `behind_bytes` of an answer may wait for it."""

    head_bytes: int = 64 << 10
    body_bytes: int = 32 << 20
    behind_bytes: int = 8 << 20
    connections: int = 16384
    head_s: float = 10.0
    body_s: float = 30.0
    idle_s: float = 75.0
    stalled_s: float = 60.0


class Request(msgspec.Struct):
    """Header names are in lower case; `named` is what the `{name}` parts of its route stand for."""

    method: str
    path: str
    query: str
    headers: Mapping[bytes, bytes]
    body: bytes
    id: str
    named: Mapping[str, str] = NOTHING
    caller: Caller = ANYONE
    bill: Bill = msgspec.field(default_factory=Bill)
    told: Mapping[str, str] = NOTHING
    """Headers that the reply gets, whatever its endpoint says."""


class Sink(Protocol):
    """Where a stream goes. Raises nothing: whoever is gone has cancelled the stream."""

    @property
    def started(self) -> bool: ...

    def write(self, data: bytes) -> None:
        """At once, without waiting. A client that is too far behind is cut off."""
        ...

    async def drain(self) -> None:
        """Waits while the client is behind."""
        ...


class Whole(msgspec.Struct, frozen=True):
    status: int
    body: bytes
    content_type: str = JSON
    headers: Mapping[str, str] = NOTHING


class Stream(msgspec.Struct, frozen=True):
    """`tell` writes all that there is to say, and is cancelled when the client hangs up. The status goes out with the
    first write: an ApiError before it has its own status, one after it becomes an error event."""

    tell: Callable[[Sink], Awaitable[None]]
    headers: Mapping[str, str] = NOTHING
    content_type: str = EVENTS


Reply = Whole | Stream


class Answers(Protocol):
    """What a server serves."""

    @property
    def limits(self) -> Limits: ...

    async def answer(self, request: Request) -> Reply:
        """Raises nothing: what goes wrong is a reply too."""
        ...


def header(request: Request, name: bytes) -> str | None:
    """`name` in lower case."""
    value = request.headers.get(name)
    return None if value is None else value.decode("latin-1")


def uncached(request: Request) -> Mapping[str, str]:
    """The headers of a stream."""
    return {"cache-control": "no-cache", "x-request-id": request.id}


def parsed(body: bytes, kind: type[T]) -> T:
    """Raises ApiError 400 that names the field."""
    try:
        return _decoder(kind).decode(body if body[:3] != codecs.BOM_UTF8 else body[3:])
    except msgspec.ValidationError as error:
        raise _invalid(str(error)) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise invalid(f"the body is not JSON in UTF-8: {error}", code="invalid_json") from None


def json_reply(body: object, headers: Mapping[str, str] = NOTHING, status: int = 200) -> Whole:
    return Whole(status, msgspec.json.encode(body), JSON, headers)


def event(piece: object) -> bytes:
    """One server-sent event."""
    return b"data: " + msgspec.json.encode(piece) + b"\n\n"


def events(pieces: AsyncIterator[object], headers: Mapping[str, str] = NOTHING) -> Stream:
    """Server-sent events, [DONE] last."""

    async def tell(sink: Sink) -> None:
        async for piece in pieces:
            sink.write(event(piece))
            await sink.drain()
        sink.write(DONE)

    return Stream(tell, headers)


async def told(stream: Stream, sink: Sink, request_id: str) -> Whole | None:
    """Runs a stream to its end; what went wrong before it began is a reply of its own."""
    try:
        await stream.tell(sink)
    except Exception as error:
        refusal = refused(error, request_id)
        if not sink.started:
            return refusal
        sink.write(b"data: " + refusal.body + b"\n\n" + DONE)  # the status is gone: clients raise on an error event
    return None


def refused(error: Exception, request_id: str) -> Whole:
    """The reply to a request that failed; never a stack."""
    if not isinstance(error, ApiError):
        _log.error("%s failed", request_id, exc_info=error)
        error = ApiError(500, f"this is a fault of the server; its log has {request_id}", code="internal_error")
    return json_reply(error.body, {**error.headers, "x-request-id": request_id}, error.status)


def too_large(limits: Limits) -> ApiError:
    return ApiError(413, f"the body is over {limits.body_bytes} bytes", code="request_too_large")


def too_slow(limit_s: float) -> ApiError:
    return ApiError(408, f"the request was not there after {limit_s:g} s", code="request_timeout")


def not_taken(name: str) -> ApiError:
    return invalid(f"{name} is not taken here: {WAYS_OUT.get(name, 'leave it out')}", name, "unknown_parameter")


@functools.cache
def _decoder(kind: type[T]) -> "msgspec.json.Decoder[T]":
    return msgspec.json.Decoder(kind)


WAYS_OUT = {
    "functions": "give tools",
    "function_call": "give tool_choice",
    "conversation": "go on from a response with previous_response_id, or give /v1/runs a session",
    "prompt": "give instructions and input",
    "reasoning": "leave it out, and let instructions say how to think",
    "reasoning_effort": "leave it out, and let a system message say how to think",
    "echo": "leave it out, and put the prompt in front yourself",
    "suffix": "leave it out: nothing is written before a given end",
    "best_of": "leave it out, ask for n and choose",
    "language": "leave it out: the agent hears what it was made for",
    "store": "leave it out, and ask /v1/responses for what is to be kept",
    "service_tier": "leave it out, and say in X-Agent-Hints how urgent it is",
    "truncation": "leave it out: what is beyond the context is refused",
    "speed": "leave it out: an agent speaks at its own pace",
}
"""Of fields of OpenAI's API that are not taken here, or not with each value; others are best left out."""


def _invalid(message: str) -> ApiError:
    """msgspec says "… unknown field `x`" or "… - at `$.path`"."""
    text, _, path = message.partition(" - at `$.")
    inner, unknown = path.rstrip("`"), re.search(r"unknown field `([^`]*)`", text)
    if unknown:
        name = f"{inner}.{unknown[1]}" if inner else unknown[1]
        return not_taken(name)
    if inner in WAYS_OUT and text.startswith("Invalid enum"):
        return not_taken(inner)
    return invalid(f"{inner or 'the body'}: {text}", inner or None)
