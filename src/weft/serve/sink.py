"""A stream's way out of a socket."""

import asyncio


class SocketSink:
    """`head` goes out with what is written first. A client that is over `behind_bytes` behind is cut off."""

    __slots__ = ("_behind", "_behind_bytes", "_chunks", "_head", "_lost", "_transport", "started")

    def __init__(self, transport: asyncio.Transport, head: bytes, behind_bytes: int, *, chunks: bool) -> None:
        self.started = False
        self._transport = transport
        self._head = head
        self._behind_bytes = behind_bytes
        self._chunks = chunks
        self._behind: asyncio.Future[None] | None = None
        self._lost = False

    def write(self, data: bytes) -> None:
        if self._lost:
            return
        piece = b"%x\r\n%b\r\n" % (len(data), data) if self._chunks else data
        if not self.started:
            self.started = True
            piece = self._head + piece
        self._transport.write(piece)
        if self._behind is not None and self._transport.get_write_buffer_size() > self._behind_bytes:
            self._lost = True
            self._transport.abort()

    async def drain(self) -> None:
        if self._behind is not None:
            await self._behind

    def end(self) -> None:
        last = b"0\r\n\r\n" if self._chunks else b""
        if not self._lost:
            self._transport.write(last if self.started else self._head + last)

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
        self.resume()
