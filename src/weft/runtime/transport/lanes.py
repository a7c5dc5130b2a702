"""Large payloads over several TCP sockets at once, each in a thread, straight from the sender's memory and into a
buffer that is used again. What the receiver does not take, the sender's sockets hold back."""

import asyncio
import contextlib
import errno
import socket
import struct
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

from weft.core.errors import WireError
from weft.runtime.transport.base import Buffer
from weft.runtime.transport.buffers import BufferPool
from weft.runtime.transport.bulk import STALL_S

TICKET = b"lanes"
MAX_PARTS = 512  # of one sendmsg call; the system's limit is 1024


class Lanes:
    """Lane i of n carries bytes [i·size/n, (i+1)·size/n) of each payload, one payload after the other."""

    def __init__(self, lanes: Sequence[socket.socket], pool: BufferPool) -> None:
        self._lanes = tuple(lanes)
        self._pool = pool
        self._threads = ThreadPoolExecutor(2 * len(lanes), "lane")
        for lane in self._lanes:
            _make_blocking(lane)

    async def prepare(self, parts: Sequence[Buffer], size: int) -> bytes | None:
        return TICKET

    async def deliver(self, parts: Sequence[Buffer], size: int) -> None:
        await self._each(lambda lane, start, end: _send_all(lane, _cut(parts, start, end)), size)

    async def collect(self, ticket: memoryview, size: int) -> memoryview:
        if bytes(ticket) != TICKET:
            raise WireError(
                subject="frame", problem="has a ticket that is not for lanes", way_out="run the same weft on both sides"
            )
        payload = self._pool.lend(size)
        await self._each(lambda lane, start, end: _receive_all(lane, payload[start:end]), size)
        return payload

    def close(self) -> None:
        for lane in self._lanes:
            with contextlib.suppress(OSError):
                lane.shutdown(socket.SHUT_RDWR)  # ends the threads that wait for it
        self._threads.shutdown(wait=False, cancel_futures=True)
        for lane in self._lanes:
            lane.close()

    async def _each(self, work: Callable[[socket.socket, int, int], None], size: int) -> None:
        loop, count = asyncio.get_running_loop(), len(self._lanes)
        ends = [size * index // count for index in range(count + 1)]
        jobs = [
            loop.run_in_executor(self._threads, work, lane, start, end)
            for lane, start, end in zip(self._lanes, ends, ends[1:], strict=False)
        ]
        done = await asyncio.gather(*jobs, return_exceptions=True)
        for failure in done:
            if isinstance(failure, BaseException):
                raise failure


def _send_all(lane: socket.socket, views: list[memoryview]) -> None:
    while views:
        with _as_connection_error():
            sent = lane.sendmsg(views[:MAX_PARTS])
        while views and sent >= len(views[0]):
            sent -= len(views.pop(0))
        if views:
            views[0] = views[0][sent:]


def _receive_all(lane: socket.socket, view: memoryview) -> None:
    while view:
        with _as_connection_error():
            received = lane.recv_into(view, 0, socket.MSG_WAITALL)
        if received == 0:
            raise ConnectionResetError("the peer has gone")
        view = view[received:]


def _cut(parts: Sequence[Buffer], start: int, end: int) -> list[memoryview]:
    """Bytes [start, end) of the parts joined, as views."""
    views: list[memoryview] = []
    for part in parts:
        view = memoryview(part).cast("B")
        piece = view[max(start, 0) : max(end, 0)]
        if piece:
            views.append(piece)
        start, end = start - len(view), end - len(view)
    return views


def _make_blocking(lane: socket.socket) -> None:
    """Blocking, but not for ever: the system itself waits, which saves a call for each buffer that is full."""
    lane.setblocking(True)
    limit = struct.pack("ll", int(STALL_S), 0)
    lane.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, limit)
    lane.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, limit)


@contextlib.contextmanager
def _as_connection_error():
    """A lane that stalled or was closed under a thread is a lost peer like any other."""
    try:
        yield
    except ConnectionError:
        raise
    except OSError as error:
        stalled = error.errno in (errno.EAGAIN, errno.EWOULDBLOCK)
        raise ConnectionResetError(f"the peer stalled for {STALL_S:g} s" if stalled else str(error)) from error
