"""The in-process transport: one queue in each direction. Frames pass as they are."""

import asyncio
import itertools
from collections import deque

from weft.runtime.transport.base import Frame, OnConnection

FRAMES_IN_FLIGHT = 16


class _Pipe:
    """One direction: a bounded queue that can end."""

    def __init__(self) -> None:
        self._frames: deque[Frame] = deque()
        self._changed = asyncio.Condition()
        self._ended = False

    async def put(self, frame: Frame) -> None:
        async with self._changed:
            await self._changed.wait_for(lambda: self._ended or len(self._frames) < FRAMES_IN_FLIGHT)
            if self._ended:
                raise ConnectionResetError("the peer has closed the connection")
            self._frames.append(frame)
            self._changed.notify_all()

    async def get(self) -> Frame:
        """What was sent before the end still arrives."""
        async with self._changed:
            await self._changed.wait_for(lambda: self._ended or len(self._frames) > 0)
            if not self._frames:
                raise ConnectionResetError("the peer has closed the connection")
            self._changed.notify_all()
            return self._frames.popleft()

    async def end(self) -> None:
        async with self._changed:
            self._ended = True
            self._changed.notify_all()


class MemoryConnection:
    def __init__(self, incoming: _Pipe, outgoing: _Pipe) -> None:
        self._incoming = incoming
        self._outgoing = outgoing

    async def send(self, frame: Frame) -> None:
        await self._outgoing.put(frame)

    async def receive(self) -> Frame:
        return await self._incoming.get()

    async def close(self) -> None:
        await self._incoming.end()
        await self._outgoing.end()


def connection_pair() -> tuple[MemoryConnection, MemoryConnection]:
    there, back = _Pipe(), _Pipe()
    return MemoryConnection(back, there), MemoryConnection(there, back)


class MemoryTransport:
    """A network of its own: addresses are known only to peers that share the object."""

    def __init__(self) -> None:
        self._listeners: dict[str, MemoryListener] = {}
        self._names = itertools.count()

    async def listen(self, on_connection: OnConnection) -> "MemoryListener":
        address = f"memory:{next(self._names)}"
        self._listeners[address] = MemoryListener(address, on_connection)
        return self._listeners[address]

    async def connect(self, address: str) -> MemoryConnection:
        listener = self._listeners.get(address)
        if listener is None or listener.closed:
            raise ConnectionRefusedError(f"nobody listens at {address}")
        return listener.accept()


class MemoryListener:
    def __init__(self, address: str, on_connection: OnConnection) -> None:
        self.address = address
        self.closed = False
        self._on_connection = on_connection
        self._tasks: set[asyncio.Future[None]] = set()

    def accept(self) -> MemoryConnection:
        ours, theirs = connection_pair()
        task = asyncio.ensure_future(self._on_connection(ours))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return theirs

    async def close(self) -> None:
        self.closed = True
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
