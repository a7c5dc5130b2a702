"""One HTTP/1.1 client: what it sends becomes requests, answered one after the other.

Those that it sends ahead wait in order, and while one waits nothing more is read. What breaks the rules of HTTP or the
limits gets one refusal, after which the connection ends. Nothing here has a timer: `deadline_s` is when what is awaited
of the client must have come, and the door looks at it.
"""

import asyncio
import math
import socket
from asyncio.trsock import TransportSocket
from collections import deque
from collections.abc import Mapping
from http import HTTPStatus
from typing import Protocol, cast

from weft.serve.api.errors import ApiError
from weft.serve.api.http import Answers, Limits, Reply, Stream, Whole, refused, told, too_slow
from weft.serve.ids import fresh
from weft.serve.incoming import Incoming, Parsed
from weft.serve.sink import Outbox, SocketSink

LINGER_S = 2.0
"""Who was refused while it sends may take so long to read why: closing at once would reset what is on its way."""
_STATUS_LINES = {status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode() for status in HTTPStatus}
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


class House(Protocol):
    """What all connections share."""

    app: Answers
    limits: Limits
    closing: bool
    date: bytes
    outbox: Outbox
    connections: "set[HttpConnection]"


class HttpConnection(asyncio.Protocol):
    def __init__(self, house: House, loop: asyncio.AbstractEventLoop) -> None:
        self.deadline_s = loop.time() + house.limits.idle_s
        self._house = house
        self._loop = loop
        self._limits = house.limits
        self._incoming = Incoming(house.limits, self._take, self._expect)
        self._waiting: deque[Parsed | ApiError] = deque()
        self._task: asyncio.Task[None] | None = None
        self._sink: SocketSink | None = None
        self._deaf = False  # what it still sends is not read
        self._keep = True  # the connection stays open after the answer that is under way
        self._clogged = False

    @property
    def bare_socket(self) -> TransportSocket:
        return self._transport.get_extra_info("socket")

    # what asyncio calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is no subclass of it
        if self.bare_socket.family != socket.AF_UNIX:
            self.bare_socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._house.connections.add(self)
        if len(self._house.connections) > self._limits.connections:
            message = f"{self._limits.connections} connections are open, the most at once; try again"
            self._refuse(ApiError(503, message, code="overloaded"))

    def data_received(self, data: bytes) -> None:
        if self._deaf:
            return
        if self._task is None and not self._incoming.begun:
            self.deadline_s = self._loop.time() + self._limits.head_s
        try:
            self._incoming.feed(data)
        except ApiError as error:
            self._refuse(error)

    def connection_lost(self, exc: Exception | None) -> None:
        self._house.connections.discard(self)
        self._deaf = True
        self._waiting.clear()
        if self._sink is not None:
            self._sink.lost()
        if self._task is not None:
            self._task.cancel()

    def pause_writing(self) -> None:
        self._clogged = True
        self.deadline_s = self._loop.time() + self._limits.stalled_s
        if self._sink is not None:
            self._sink.pause()

    def resume_writing(self) -> None:
        self._clogged = False
        self.deadline_s = math.inf
        if self._sink is not None:
            self._sink.resume()
        if self._task is None:
            self._next()

    # what the door calls

    def expire(self) -> None:
        """The client took too long: to read, to ask anything, or to ask on."""
        if self._task is not None or self._deaf or self._clogged:
            self._transport.abort()
        elif self._incoming.begun:
            self._refuse(too_slow(self._limits.head_s if self._incoming.in_head else self._limits.body_s))
        else:
            self._transport.close()

    def close_when_idle(self) -> None:
        if self._task is None:
            self._transport.close()

    def abort(self) -> None:
        self._transport.abort()

    # one request after the other

    def _expect(self, expected: bytes | None) -> None:
        """The head of a request is there, and what it wants to be told before it goes on."""
        if self._task is None:
            self.deadline_s = self._loop.time() + self._limits.body_s
            if expected is not None:
                self._transport.write(_CONTINUE)

    def _take(self, parsed: Parsed) -> None:
        if self._task is None and not self._clogged:
            self._start(parsed)
        else:
            self._waiting.append(parsed)
            self._transport.pause_reading()

    def _start(self, parsed: Parsed) -> None:
        self._keep = parsed.keep and not self._house.closing
        self._deaf = not self._keep
        self.deadline_s = math.inf
        self._task = self._loop.create_task(self._respond(parsed))

    async def _respond(self, parsed: Parsed) -> None:
        try:
            reply = await self._house.app.answer(parsed.request)
            if parsed.request.method == "HEAD":
                self._send_head(reply)
                reply = None
            elif isinstance(reply, Stream):
                reply = await self._tell(reply, parsed)
            if reply is not None:
                self._send(reply)
        finally:
            self._task = self._sink = None
        self._next()

    async def _tell(self, stream: Stream, parsed: Parsed) -> Whole | None:
        """To a client of HTTP/1.0 it goes without chunks, and ends with the connection."""
        self._keep = self._keep and parsed.chunks
        framing = "transfer-encoding: chunked\r\n" if parsed.chunks else ""
        head = self._head(200, stream.content_type, stream.headers, framing)
        outbox, behind_bytes = self._house.outbox, self._limits.behind_bytes
        self._sink = sink = SocketSink(self._transport, outbox, head, behind_bytes, chunks=parsed.chunks)
        failed = await told(stream, sink, parsed.request.id)
        if failed is None:
            sink.end()
        return failed

    def _next(self) -> None:
        if self._transport.is_closing():
            return
        if not self._keep:
            self._transport.close()
        elif self._clogged:
            return  # the answers to what it sent ahead wait until it has read those it has
        elif self._waiting:
            waiting = self._waiting.popleft()
            if isinstance(waiting, ApiError):
                self._last(waiting)
                return
            self._start(waiting)
            if not self._waiting and not self._deaf:
                self._transport.resume_reading()
        else:
            limit_s = self._limits.body_s if self._incoming.begun else self._limits.idle_s
            self.deadline_s = self._loop.time() + limit_s

    def _refuse(self, error: ApiError) -> None:
        """After the answers that are due before it; nothing more is read."""
        self._deaf = True
        if self._task is None and not self._waiting:
            self._last(error)
        else:
            self._waiting.append(error)

    def _last(self, error: ApiError) -> None:
        self._keep, self._deaf = False, True
        self._send(refused(error, fresh()))
        self._transport.resume_reading()  # to nobody: so that the client may finish, and read
        self._transport.write_eof()
        self.deadline_s = self._loop.time() + LINGER_S

    def _send(self, reply: Whole) -> None:
        self._transport.write(self._whole_head(reply) + reply.body)

    def _send_head(self, reply: Reply) -> None:
        """Of what a GET would get. A client that reads no body would take one for the next answer."""
        whole = isinstance(reply, Whole)
        head = self._whole_head(reply) if whole else self._head(200, reply.content_type, reply.headers, "")
        self._transport.write(head)

    def _whole_head(self, reply: Whole) -> bytes:
        return self._head(reply.status, reply.content_type, reply.headers, f"content-length: {len(reply.body)}\r\n")

    def _head(self, status: int, content_type: str, headers: Mapping[str, str], framing: str) -> bytes:
        lines = "".join([f"{name}: {value}\r\n" for name, value in headers.items()])
        end = "\r\n" if self._keep else "connection: close\r\n\r\n"
        text = f"content-type: {content_type}\r\n{framing}{lines}{end}"
        return _STATUS_LINES[status] + self._house.date + text.encode("latin-1", "replace")
