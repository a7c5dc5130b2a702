"""A stream's way out of a socket."""

import asyncio


class Outbox:
    """What streams say in one turn of the loop is gathered, and leaves at its end: a node tells of all its replies at
    once, and to change between telling and sending with each token costs more than either."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._waiting: list[SocketSink] = []
        self._loop = loop

    def add(self, sink: "SocketSink") -> None:
        if not self._waiting:
            self._loop.call_soon(self._flush)
        self._waiting.append(sink)

    def _flush(self) -> None:
        waiting, self._waiting = self._waiting, []
        for sink in waiting:
            sink.flush()


class SocketSink:
    """`head` goes out with what is written first. A client that is over `behind_bytes` behind is cut off."""

    __slots__ = ("_behind", "_behind_bytes", "_chunks", "_head", "_lost", "_outbox", "_transport", "_unsent", "started")

    def __init__(
        self, transport: asyncio.Transport, outbox: Outbox, head: bytes, behind_bytes: int, *, chunks: bool
    ) -> None:
        self.started = False
        self._transport = transport
        self._outbox = outbox
        self._head = head
        self._unsent = b""
        self._behind_bytes = behind_bytes
        self._chunks = chunks
        self._behind: asyncio.Future[None] | None = None
        self._lost = False

    def write(self, data: bytes) -> None:
        if not self._unsent:
            self.started = True
            self._outbox.add(self)
        self._unsent += data

    def flush(self) -> None:
        if self._unsent:  # else it was sent meanwhile
            self._send()

    async def drain(self) -> None:
        if self._behind is not None:
            await self._behind

    def end(self) -> None:
        self._send(b"0\r\n\r\n" if self._chunks else b"")

    def _send(self, last: bytes = b"") -> None:
        data, self._unsent = self._unsent, b""
        if data and self._chunks:
            data = b"%x\r\n%b\r\n" % (len(data), data)
        if self._head:
            data, self._head = self._head + data, b""
        if self._lost or not (data or last):
            return
        self._transport.write(data + last)
        if self._behind is not None and self._transport.get_write_buffer_size() > self._behind_bytes:
            self._lost = True
            self._transport.abort()

    # what the connection calls

    def pause(self) -> None:
        if self._behind is None:
            self._behind = asyncio.get_running_loop().create_future()

    def resume(self) -> None:
        behind, self._behind = self._behind, None
        if behind is not None and not behind.done():
            behind.set_result(None)

    def lost(self) -> None:
        self._lost = True
        self._unsent = b""
        self.resume()
