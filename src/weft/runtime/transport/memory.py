"""The in-process transport: one inbox at each end. Frames pass as they are."""

import asyncio
import itertools

from weft.runtime.transport.base import Frame, OnConnection, OnEnd, OnFrame
from weft.runtime.transport.inbox import Inbox


class MemoryConnection:
    def __init__(self, own: Inbox, peer: Inbox) -> None:
        self._own = own
        self._peer = peer

    async def send(self, frame: Frame) -> None:
        await self._peer.room()
        self.write(frame)

    def write(self, frame: Frame) -> None:
        if self._peer.ended:
            raise ConnectionResetError("the peer has closed the connection")
        # as from a socket: not on the sender's stack
        asyncio.get_running_loop().call_soon(self._peer.put, frame) if self._peer.pushes else self._peer.put(frame)

    def deliver_to(self, on_frame: OnFrame, on_end: OnEnd) -> None:
        self._own.deliver_to(on_frame, on_end)

    def hold(self) -> None:
        self._own.hold()

    def let_go(self) -> None:
        self._own.let_go()

    async def receive(self) -> Frame:
        return await self._own.get()

    async def close(self) -> None:
        for inbox in (self._peer, self._own):
            closed = ConnectionResetError("the peer has closed the connection")
            asyncio.get_running_loop().call_soon(inbox.end, closed) if inbox.pushes else inbox.end(closed)


def connection_pair() -> tuple[MemoryConnection, MemoryConnection]:
    there, back = Inbox(), Inbox()
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
