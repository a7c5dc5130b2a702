"""Large payloads in shared memory, for peers on one Linux host: the sender copies once, the receiver copies nothing.

Segments are anonymous files (memfd) whose descriptors pass over a Unix socket: they have no name, so whoever is killed
leaves none behind. Each side owns the segments that it sends in, and uses one again when the receiver has let go of all
views of it. Where all are in use, the payload travels within its frame: slower, but nobody waits for ever.
"""

import asyncio
import contextlib
import fcntl
import itertools
import mmap
import os
import socket
import struct
from collections.abc import Sequence

import numpy as np

from weft.core.errors import WireError
from weft.runtime.threads import in_thread
from weft.runtime.transport.base import Buffer
from weft.runtime.transport.buffers import KEPT_BYTES, class_of, fill, lent

LIMIT_BYTES = 2 * 1024**3
"""Of all segments that one side of a connection has made."""
RECORD = struct.Struct("<cQ")
OPENED, COLLECTED, RELEASED = b"O", b"C", b"R"
FRAMES_AHEAD = 4
"""So many payloads may wait for a receiver that is behind; then it holds the sender. Each is one more segment, and to
touch one for the first time takes nine times as long as to use it again."""
SPLIT_BYTES = 4 * 1024**2
"""From this size on two threads copy."""
TICKET = struct.Struct("<Q")
SEALS = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW


class Segments:
    """`channel` carries descriptors of new segments, and the numbers of those that were released."""

    def __init__(self, channel: socket.socket, limit_bytes: int = LIMIT_BYTES, kept_bytes: int = KEPT_BYTES) -> None:
        self._channel = channel
        self._limit_bytes = limit_bytes
        self._kept_bytes = kept_bytes
        self._names = itertools.count()
        self._own: dict[int, mmap.mmap] = {}
        self._free: list[int] = []
        self._peers: dict[int, mmap.mmap] = {}
        self._uncollected = 0
        self._ended = False
        self._waiting: asyncio.Future[None] | None = None
        self._rest = b""
        self._descriptors: list[int] = []
        channel.setblocking(False)

    async def prepare(self, parts: Sequence[Buffer], size: int) -> bytes | None:
        self._read_records()
        name = self._segment(size)
        if name is None:
            return None
        target = np.frombuffer(self._own[name], np.uint8)
        await _fill(target, parts, size)
        return TICKET.pack(name)

    async def deliver(self, parts: Sequence[Buffer], size: int) -> None:
        self._uncollected += 1
        while self._uncollected > FRAMES_AHEAD:
            await self._readable()
            self._read_records()
            if self._ended:
                raise ConnectionResetError("the peer has gone")

    async def collect(self, ticket: memoryview, size: int) -> memoryview:
        self._read_records()
        name = TICKET.unpack(ticket)[0] if len(ticket) == TICKET.size else None
        region = None if name is None else self._peers.get(name)
        if name is None or region is None or size > len(region):
            raise _refusal(f"segment {name} of {size} bytes was never sent")
        self._tell(COLLECTED, name)
        return lent(region, size, lambda _: self._tell(RELEASED, name))

    def close(self) -> None:
        """Views that are still held keep their memory; all else goes."""
        if self._waiting is not None:
            asyncio.get_running_loop().remove_reader(self._channel.fileno())
            if not self._waiting.done():
                self._waiting.set_exception(ConnectionResetError("the connection was closed"))
        self._channel.close()
        while self._descriptors:
            os.close(self._descriptors.pop())
        self._own.clear()
        self._peers.clear()

    def _segment(self, size: int) -> int | None:
        """A free segment that is large enough, or a new one; None beyond the limit. Of equals the one that was let go
        last: few are in use then, and their pages are near."""
        fitting = [name for name in reversed(self._free) if len(self._own[name]) >= size]
        if fitting:
            name = min(fitting, key=lambda name: len(self._own[name]))
            self._free.remove(name)
            return name
        size_class = class_of(size)
        if sum(map(len, self._own.values())) + size_class > self._limit_bytes:
            return None
        return self._open(size_class)

    def _open(self, size: int) -> int:
        name, descriptor = next(self._names), os.memfd_create("weft-kv", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        try:
            os.ftruncate(descriptor, size)
            fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, SEALS)
            self._own[name] = mmap.mmap(descriptor, size)
            socket.send_fds(self._channel, [RECORD.pack(OPENED, name)], [descriptor])
        finally:
            os.close(descriptor)
        return name

    def _tell(self, kind: bytes, name: int) -> None:
        """Runs also where the last view ends, in any thread. Records are written whole."""
        with contextlib.suppress(OSError):  # the peer has gone: nobody waits for it
            self._channel.send(RECORD.pack(kind, name))

    async def _readable(self) -> None:
        loop, descriptor = asyncio.get_running_loop(), self._channel.fileno()
        if descriptor < 0:
            raise ConnectionResetError("the connection was closed")
        self._waiting = waiting = loop.create_future()
        loop.add_reader(descriptor, lambda: waiting.done() or waiting.set_result(None))
        try:
            await waiting
        finally:
            self._waiting = None
            if self._channel.fileno() >= 0:
                loop.remove_reader(descriptor)

    def _read_records(self) -> None:
        while True:
            try:
                data, descriptors, _, _ = socket.recv_fds(self._channel, 64 * RECORD.size, 64)
            except BlockingIOError:
                return
            except OSError as error:
                raise ConnectionResetError("the peer has gone") from error
            if not data:
                self._ended = True  # what was sent before can still be collected
                return
            self._descriptors += descriptors
            self._rest += data
            while len(self._rest) >= RECORD.size:
                self._take(*RECORD.unpack_from(self._rest))
                self._rest = self._rest[RECORD.size :]

    def _take(self, kind: bytes, name: int) -> None:
        if kind == COLLECTED and name in self._own and self._uncollected:
            self._uncollected -= 1
        elif kind == RELEASED and name in self._own and name not in self._free:
            self._free.append(name)
            if sum(len(self._own[each]) for each in self._free) > self._kept_bytes:
                self._own[name].madvise(mmap.MADV_REMOVE)
        elif kind == OPENED and self._descriptors and name not in self._peers:
            self._peers[name] = _mapped(self._descriptors.pop(0))
            if sum(map(len, self._peers.values())) > LIMIT_BYTES:
                raise _refusal(f"the peer opened more than {LIMIT_BYTES} bytes")
        else:
            raise _refusal(f"record {kind!r} {name} makes no sense here")


async def _fill(target: np.ndarray, parts: Sequence[Buffer], size: int) -> None:
    """One thread does not use all that memory can take."""
    if size < SPLIT_BYTES:
        return await in_thread(lambda: fill(target, parts))
    half = left = size // 2
    first: list[Buffer] = []
    second: list[Buffer] = []
    for part in map(memoryview, parts):
        first.append(part[:left])
        second.append(part[left:])
        left = max(0, left - len(part))
    await asyncio.gather(in_thread(lambda: fill(target, first)), in_thread(lambda: fill(target[half:], second)))


def _mapped(descriptor: int) -> mmap.mmap:
    """A peer's segment. It must be sealed: one that shrinks under its reader would kill it."""
    try:
        size = os.fstat(descriptor).st_size
        if fcntl.fcntl(descriptor, fcntl.F_GET_SEALS) & SEALS != SEALS or not 0 < size <= LIMIT_BYTES:
            raise _refusal(f"a segment of {size} bytes is not sealed or too large")
        return mmap.mmap(descriptor, size)
    except OSError as error:
        raise _refusal(f"a segment cannot be mapped ({error})") from error
    finally:
        os.close(descriptor)


def _refusal(problem: str) -> WireError:
    return WireError(subject="shared memory", problem=problem, way_out="run the same version of weft on both sides")
