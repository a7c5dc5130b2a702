"""Bytes of a stream become frames, however they are cut. No I/O: `buffer` says where the next bytes go.

Small frames, several to a read, lie in one buffer that is used again. A large one gets a buffer of its own, which is
filled in place and belongs to whoever gets the frame.
"""

from dataclasses import dataclass

import msgspec

from weft.runtime import messages
from weft.runtime.messages import Wire
from weft.runtime.transport import framing
from weft.runtime.transport.buffers import BufferPool
from weft.runtime.transport.framing import PREFIX_BYTES

ROOM_BYTES = 64 * 1024
_NOTHING = memoryview(b"")


class Arrived(msgspec.Struct, frozen=True):
    """`payload` is empty where there is a `ticket`: then `beside_bytes` of it travel another way."""

    message: Wire
    payload: memoryview
    ticket: bytes
    beside_bytes: int


@dataclass(slots=True)
class _Large:
    """A frame that does not fit into the room: its prefix, its sizes, and its body as far as it is there."""

    prefix: bytes
    sizes: tuple[int, int, int]
    body: memoryview
    filled: int


class FrameReader:
    def __init__(self, pool: BufferPool, sealer: framing.Sealer) -> None:
        self._pool = pool
        self._sealer = sealer
        self._room = memoryview(bytearray(ROOM_BYTES))
        self._start = self._end = 0
        self._large: _Large | None = None

    def buffer(self) -> memoryview:
        """Never empty, once `next` has given None."""
        return self._room[self._end :] if self._large is None else self._large.body[self._large.filled :]

    def took(self, count: int) -> None:
        """So many bytes were put into the buffer."""
        if self._large is None:
            self._end += count
        else:
            self._large.filled += count

    def next(self) -> Arrived | None:
        """The next frame that is all there. Raises WireError."""
        if self._large is not None:
            return self._finish(self._large)
        start, there = self._start, self._end - self._start
        if there < PREFIX_BYTES:
            self._move_to_front()
            return None
        sizes = framing.read_prefix(self._room, start)
        header_bytes, ticket_bytes, payload_bytes = sizes
        body_bytes = ticket_bytes + header_bytes + (0 if ticket_bytes else payload_bytes)
        if there < PREFIX_BYTES + body_bytes:
            if PREFIX_BYTES + body_bytes > ROOM_BYTES:
                self._begin_large(sizes, body_bytes)
            else:
                self._move_to_front()
            return None
        begin = start + PREFIX_BYTES
        self._start = end = begin + body_bytes
        return self._arrived(self._room[start:begin], self._room[begin:end], sizes, keep=False)

    def _begin_large(self, sizes: tuple[int, int, int], body_bytes: int) -> None:
        prefix_end = self._start + PREFIX_BYTES
        had = self._end - prefix_end
        body = self._pool.lend(body_bytes)
        body[:had] = self._room[prefix_end : self._end]
        self._large = _Large(bytes(self._room[self._start : prefix_end]), sizes, body, had)
        self._start = self._end = 0

    def _finish(self, large: _Large) -> Arrived | None:
        if large.filled < len(large.body):
            return None
        self._large = None
        return self._arrived(large.prefix, large.body, large.sizes, keep=True)

    def _arrived(
        self, prefix: memoryview | bytes, body: memoryview, sizes: tuple[int, int, int], *, keep: bool
    ) -> Arrived:
        """`keep`: the body is the frame's own, its payload need not be copied."""
        framing.check(prefix, body, self._sealer)
        header_bytes, ticket_bytes, payload_bytes = sizes
        if not ticket_bytes and not payload_bytes:
            return Arrived(messages.decode(body), _NOTHING, b"", 0)
        header_end = ticket_bytes + header_bytes
        message = messages.decode(body[ticket_bytes:header_end])
        payload = body[header_end:]
        if not keep and payload:
            payload = memoryview(bytes(payload))
        return Arrived(message, payload, bytes(body[:ticket_bytes]), payload_bytes if ticket_bytes else 0)

    def _move_to_front(self) -> None:
        """What is left of the room is always enough for the rest of a frame that fits into it."""
        if self._start:
            left = self._end - self._start
            self._room[:left] = bytes(self._room[self._start : self._end])
            self._start, self._end = 0, left
