"""How frames move: connections between two peers, made by a transport. A frame arrives whole and in order or not."""

from collections.abc import Awaitable, Callable
from typing import Protocol

import msgspec

from weft.runtime.messages import Wire

Buffer = bytes | bytearray | memoryview


class Frame(msgspec.Struct, frozen=True):
    """A message and raw bytes. The payload may be in parts, so that a sender need not join what lies apart."""

    message: Wire
    payload: tuple[Buffer, ...] = ()

    @property
    def data(self) -> memoryview:
        """The payload in one piece; a received frame's is one already."""
        if len(self.payload) == 1:
            return memoryview(self.payload[0])
        return memoryview(b"".join(self.payload))


OnFrame = Callable[[Frame], None]
OnEnd = Callable[[Exception], None]


class Connection(Protocol):
    """Either side may send from several tasks. Frames are asked for by one task (`receive`) or, from one moment on,
    given to a function."""

    async def send(self, frame: Frame) -> None:
        """Waits while the peer is behind. ConnectionError when the peer has gone."""
        ...

    def write(self, frame: Frame) -> None:
        """The same for a frame without a large payload, and without waiting."""
        ...

    def deliver_to(self, on_frame: OnFrame, on_end: OnEnd) -> None:
        """Each frame as it arrives, without the way over a task; once, when nothing more will come, why."""
        ...

    def hold(self) -> None:
        """No more frames until `let_go`: whoever takes them is behind."""
        ...

    def let_go(self) -> None: ...

    async def receive(self) -> Frame:
        """ConnectionError when the peer has gone; WireError when it sent something malformed."""
        ...

    async def close(self) -> None: ...


class Listener(Protocol):
    @property
    def address(self) -> str: ...

    async def close(self) -> None: ...


OnConnection = Callable[[Connection], Awaitable[None]]


class Transport(Protocol):
    async def listen(self, on_connection: OnConnection) -> Listener:
        """Runs `on_connection` for each peer that connects and proves that it belongs to this run."""
        ...

    async def connect(self, address: str) -> Connection: ...
