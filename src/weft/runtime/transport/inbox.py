"""Frames that have arrived: kept for a task that asks for them, up to a limit, or given to a function at once."""

import asyncio
from collections import deque

from weft.runtime.transport.base import Frame, OnEnd, OnFrame

FRAMES_AHEAD = 16
BYTES_AHEAD = 256 * 1024


class Inbox:
    """What came before the end still arrives."""

    def __init__(self) -> None:
        self._frames: deque[Frame] = deque()
        self._bytes = 0
        self._held = False
        self._ended: Exception | None = None
        self._waiting: asyncio.Future[None] | None = None
        self._for_room: deque[asyncio.Future[None]] = deque()
        self._on_frame: OnFrame | None = None
        self._on_end: OnEnd | None = None

    @property
    def full(self) -> bool:
        return self._held or len(self._frames) >= FRAMES_AHEAD or self._bytes >= BYTES_AHEAD

    @property
    def ended(self) -> bool:
        return self._ended is not None

    @property
    def pushes(self) -> bool:
        return self._on_frame is not None

    def put(self, frame: Frame) -> None:
        if self._on_frame is not None:
            self._on_frame(frame)
            return
        self._frames.append(frame)
        self._bytes += len(frame.data)
        self._wake()

    def end(self, why: Exception) -> None:
        """Once: the first reason is the true one."""
        if self._ended is None:
            self._ended = why
            if self._on_end is not None:
                self._on_end(why)
            self._wake()
            self._make_room()

    def deliver_to(self, on_frame: OnFrame, on_end: OnEnd) -> None:
        self._on_frame, self._on_end = on_frame, on_end
        while self._frames:
            on_frame(self._frames.popleft())
        self._bytes = 0
        self._make_room()
        if self._ended is not None:
            on_end(self._ended)

    def hold(self) -> None:
        self._held = True

    def let_go(self) -> None:
        self._held = False
        self._make_room()

    async def get(self) -> Frame:
        """Raises what it was ended with."""
        while not self._frames:
            if self._ended is not None:
                raise _again(self._ended)
            self._waiting = asyncio.get_running_loop().create_future()
            await self._waiting
        frame = self._frames.popleft()
        self._bytes -= len(frame.data)
        self._make_room()
        return frame

    async def room(self) -> None:
        """Waits while it is full."""
        while self.full and not self.ended:
            room = asyncio.get_running_loop().create_future()
            self._for_room.append(room)
            await room

    def _wake(self) -> None:
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(None)

    def _make_room(self) -> None:
        while self._for_room:
            room = self._for_room.popleft()
            if not room.done():
                room.set_result(None)


def _again(error: Exception) -> Exception:
    """Anew: an error that was raised keeps the frames that it passed, and with them their buffers."""
    return error.with_traceback(None)
