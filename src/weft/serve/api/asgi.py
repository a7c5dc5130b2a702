"""The same application for any ASGI server: bounded bodies, and a client that hangs up ends its run."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any

from weft.serve.api.errors import ApiError
from weft.serve.api.http import Answers, Limits, Reply, Request, Stream, Whole, refused, told, too_large, too_slow
from weft.serve.api.routes import canonical
from weft.serve.ids import request_id

Scope = MutableMapping[str, Any]
Event = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Event]]
Send = Callable[[Event], Awaitable[None]]


class ClientGoneError(Exception):
    """Nobody waits for the answer."""


async def serve_asgi(app: Answers, scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] != "http":
        return
    headers = dict[bytes, bytes](reversed(scope["headers"]))  # of a name that comes twice the first counts
    id = request_id(headers)
    try:
        await _respond(app, scope, headers, id, receive, send)
    except ApiError as error:
        await _send_whole(send, refused(error, id))
    except ClientGoneError:
        pass


async def _respond(
    app: Answers, scope: Scope, headers: Mapping[bytes, bytes], id: str, receive: Receive, send: Send
) -> None:
    body = await _read_body(headers, receive, app.limits)
    query = scope.get("query_string", b"").decode("latin-1")
    raw = scope.get("raw_path") or scope["path"].replace("%", "%25").encode()
    request = Request(scope["method"], canonical(raw.decode("latin-1")), query, headers, body, id)
    work = asyncio.ensure_future(_answer(app, request, send))
    gone = asyncio.create_task(_disconnected(receive))
    try:
        await asyncio.wait({work, gone}, return_when=asyncio.FIRST_COMPLETED)
        if not work.done():
            raise ClientGoneError
        await work
    finally:
        for each in (work, gone):
            each.cancel()
        await asyncio.gather(work, gone, return_exceptions=True)


async def _answer(app: Answers, request: Request, send: Send) -> None:
    reply: Reply | None = await app.answer(request)
    if isinstance(reply, Stream):
        sink = _Sink(send, reply)
        reply = await told(reply, sink, request.id)
        if reply is None:
            await sink.end()
            return
    await _send_whole(send, reply)


class _Sink:
    """ASGI's `send` waits, a sink does not: what was written leaves at the next drain, and at the latest at the end."""

    def __init__(self, send: Send, stream: Stream) -> None:
        self.started = False
        self._send = send
        self._head = _head(200, stream.content_type, stream.headers)
        self._queue: asyncio.Queue[bytes | None] = asyncio.Queue()
        self._sending: asyncio.Task[None] | None = None

    def write(self, data: bytes) -> None:
        if not self.started:
            self.started = True
            self._sending = asyncio.create_task(self._pump())
        self._queue.put_nowait(data)

    async def drain(self) -> None:
        await self._queue.join()

    async def end(self) -> None:
        self._queue.put_nowait(None)
        if self._sending is None:
            self._sending = asyncio.create_task(self._pump())
        await self._sending

    async def _pump(self) -> None:
        await self._put(self._head)
        while (data := await self._queue.get()) is not None:
            await self._put({"type": "http.response.body", "body": data, "more_body": True})
            self._queue.task_done()
        await self._put({"type": "http.response.body", "body": b""})

    async def _put(self, event: Event) -> None:
        with contextlib.suppress(OSError):  # of some servers, where the client has gone: `receive` tells that too
            await self._send(event)


async def _send_whole(send: Send, reply: Whole) -> None:
    await send(_head(reply.status, reply.content_type, {**reply.headers, "content-length": str(len(reply.body))}))
    await send({"type": "http.response.body", "body": reply.body})


def _head(status: int, content_type: str, headers: Mapping[str, str]) -> Event:
    lines = [(b"content-type", content_type.encode())]
    lines += [(name.encode(), value.encode("latin-1", "replace")) for name, value in headers.items()]
    return {"type": "http.response.start", "status": status, "headers": lines}


async def _read_body(headers: Mapping[bytes, bytes], receive: Receive, limits: Limits) -> bytes:
    """The whole body. Raises ApiError 413 and 408 beyond the limits, ClientGoneError when the client hangs up."""
    told = headers.get(b"content-length", b"")
    if told.isdigit() and int(told) > limits.body_bytes:
        raise too_large(limits)
    body = bytearray()
    try:
        async with asyncio.timeout(limits.body_s):
            while True:
                event = await receive()
                if event["type"] == "http.disconnect":
                    raise ClientGoneError
                body += event.get("body", b"")
                if len(body) > limits.body_bytes:
                    raise too_large(limits)
                if not event.get("more_body", False):
                    return bytes(body)
    except TimeoutError:
        raise too_slow(limits.body_s) from None


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
