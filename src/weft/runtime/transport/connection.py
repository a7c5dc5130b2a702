"""One connection over a stream socket: proof of the run's secret, then frames with a MAC; bulk goes beside it."""

import asyncio
import contextlib
import hmac
import os
import secrets
import socket
from asyncio.trsock import TransportSocket
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from typing import Any, TypeVar, cast

from weft.core.errors import WireError
from weft.runtime.transport import framing
from weft.runtime.transport.base import Buffer, Frame, OnEnd, OnFrame
from weft.runtime.transport.buffers import BufferPool
from weft.runtime.transport.bulk import BULK_BYTES, Bulk
from weft.runtime.transport.frame_reader import Arrived, FrameReader
from weft.runtime.transport.inbox import Inbox

CHALLENGE_BYTES = PROOF_BYTES = 32
T = TypeVar("T")
SMALL_BYTES = 16 * 1024  # a frame that may wait for the others of its turn
CLOSE_GRACE_S = 0.5  # a peer that reads nothing must not hold us longer


@dataclass(frozen=True, slots=True)
class Role:
    """Who proves: the same bytes mean something else from the other side."""

    own: bytes
    peer: bytes


CLIENT, SERVER = Role(b"client", b"server"), Role(b"server", b"client")


class FramedConnection(asyncio.BufferedProtocol):
    """While it is proven, exactly what is asked for is read; from the first frame on, whatever comes."""

    def __init__(
        self, pool: BufferPool, first_bytes: int, on_made: "Callable[[FramedConnection], None] | None" = None
    ) -> None:
        """`first_bytes` is what the first `read` will ask for: a loop may read as soon as there is a connection."""
        self.bulk: Bulk | None = None
        self.bulk_keys: tuple[bytes, ...] = ()
        self._pool = pool
        self._on_made = on_made
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._full: asyncio.Future[None] | None = self._expect(first_bytes)
        self._may_write = asyncio.Event()
        self._may_write.set()
        self._lost = False
        self._closed = self._loop.create_future()
        self._sending = asyncio.Lock()  # of bulk payloads
        self._small: list[Buffer] = []  # frames of this turn of the loop, to leave together
        self._tasks: set[asyncio.Task[None]] = set()
        self._incoming, self._outgoing = framing.Sealer(b""), framing.Sealer(b"")
        self._reader: FrameReader | None = None
        self._inbox = Inbox()
        self._collecting = False

    @property
    def bare_socket(self) -> TransportSocket:
        assert self._transport is not None
        return self._transport.get_extra_info("socket")

    async def send(self, frame: Frame) -> None:
        size = sum(map(len, frame.payload)) if frame.payload else 0
        if self.bulk is not None and BULK_BYTES <= size <= framing.MAX_PAYLOAD_BYTES:
            # not cancelled with its waiter: half a payload would make nonsense of what comes after it
            await asyncio.shield(self._spawn(self._send_bulk(self.bulk, frame, size)))
        else:
            self.write(frame)
            if not self._may_write.is_set():
                await self._may_write.wait()

    def write(self, frame: Frame) -> None:
        """All of a frame at once, so that frames of several tasks do not mix. What one turn of the loop writes leaves
        together: each write of its own costs more than all that is done for a small frame."""
        first, *payload = framing.encode(frame, self._outgoing)
        if payload or len(first) > SMALL_BYTES:
            self.write_bytes(first, *payload)
            return
        self._check_open()
        if not self._small:
            self._loop.call_soon(self._flush)
        self._small.append(first)

    def deliver_to(self, on_frame: OnFrame, on_end: OnEnd) -> None:
        self._inbox.deliver_to(on_frame, on_end)
        self._go_on()

    def hold(self) -> None:
        self._inbox.hold()

    def let_go(self) -> None:
        self._inbox.let_go()
        self._go_on()

    async def receive(self) -> Frame:
        self._go_on()
        try:
            return await self._inbox.get()
        finally:
            self._go_on()

    async def close(self) -> None:
        if self.bulk is not None:
            self.bulk.close()
        if self._transport is not None:
            self._flush()
            self._transport.close()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(asyncio.shield(self._closed), CLOSE_GRACE_S)
            self._transport.abort()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    async def prove(self, secret: bytes, greeting: bytes, role: Role) -> None:
        """Both sides send a challenge, then the proof over both and the greeting: none can be replayed or mirrored.
        What comes after has keys that only these two challenges give."""
        own = secrets.token_bytes(CHALLENGE_BYTES)
        self.write_bytes(own)
        peers = bytes(await self.read(CHALLENGE_BYTES))
        self.write_bytes(_keyed(secret, b"proof " + role.own, greeting, own, peers))
        expected = _keyed(secret, b"proof " + role.peer, greeting, peers, own)
        if not hmac.compare_digest(expected, await self.read(PROOF_BYTES)):
            raise WireError(
                subject="peer", problem="does not know this run's secret", way_out="start it from the same fleet"
            )
        self.bulk_keys = tuple(  # of payloads that go out, and that come in
            _keyed(secret, b"bulk " + who.own, greeting, *challenges)
            for who, challenges in ((role, (own, peers)), (Role(role.peer, role.own), (peers, own)))
        )
        self._outgoing = framing.Sealer(_keyed(secret, b"frames " + role.own, greeting, own, peers))
        self._incoming = framing.Sealer(_keyed(secret, b"frames " + role.peer, greeting, peers, own))

    def write_bytes(self, *parts: Buffer) -> None:
        """As they are, after what waits."""
        transport = self._check_open()
        if self._small:
            self._flush()
        for part in parts:
            transport.write(part)

    def _flush(self) -> None:
        small, self._small = self._small, []
        if small and self._transport is not None and not self._transport.is_closing():
            self._transport.write(small[0] if len(small) == 1 else b"".join(small))

    def _check_open(self) -> asyncio.Transport:
        if self._lost or self._transport is None:
            raise ConnectionResetError("the peer has gone")
        return self._transport

    async def read(self, size: int) -> memoryview:
        """Before the first frame."""
        transport = self._check_open()
        if self._full is None:
            self._full = self._expect(size)
            transport.resume_reading()
        try:
            await self._full
        finally:
            self._full = None
        return self._exact

    def _expect(self, size: int) -> "asyncio.Future[None]":
        self._exact, self._filled = memoryview(bytearray(size)), 0
        return self._loop.create_future()

    def detach(self) -> socket.socket:
        """The bare socket. Nothing that the peer sent after its proof is lost: nothing was read ahead."""
        assert self._transport is not None
        bare = socket.socket(fileno=os.dup(self.bare_socket.fileno()))
        bare.setblocking(False)
        self._transport.abort()
        return bare

    def _go_on(self) -> None:
        """Takes in what is there, as far as the inbox has room; reads more only then."""
        if self._lost or self._transport is None:
            return
        if self._reader is None:
            self._reader = FrameReader(self._pool, self._incoming)
        if self._take_frames(self._reader):
            self._transport.resume_reading()
        else:
            self._transport.pause_reading()

    def _take_frames(self, reader: FrameReader) -> bool:
        """Whether there is room for more."""
        while not self._collecting and not self._inbox.full:
            try:
                arrived = reader.next()
            except WireError as error:
                self._inbox.end(error)
                return False
            if arrived is None:
                return True
            if arrived.ticket:
                self._collecting = True
                self._spawn(self._collect(arrived))
            else:
                self._inbox.put(Frame(arrived.message, (arrived.payload,)))
        return False

    async def _collect(self, arrived: Arrived) -> None:
        """A payload that came beside its frame; what follows waits for it."""
        try:
            if self.bulk is None:
                raise _nothing_beside()
            payload = await self._ending_on_failure(self.bulk.collect(memoryview(arrived.ticket), arrived.beside_bytes))
        except (WireError, ConnectionError) as error:
            self._inbox.end(error)
            return
        self._collecting = False
        self._inbox.put(Frame(arrived.message, (payload,)))
        del payload, arrived  # it is the receiver's now
        self._go_on()

    def _spawn(self, work: Coroutine[Any, Any, None]) -> "asyncio.Task[None]":
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _send_bulk(self, bulk: Bulk, frame: Frame, size: int) -> None:
        async with self._sending:
            ticket = await bulk.prepare(frame.payload, size)
            self.write_bytes(*framing.encode(frame, self._outgoing, ticket or b""))
            await self._may_write.wait()
            if ticket is not None:
                await self._ending_on_failure(bulk.deliver(frame.payload, size))

    async def _ending_on_failure(self, moving: Awaitable[T]) -> T:
        """Half a payload cannot be mended: the connection ends."""
        try:
            return await moving
        except BaseException:
            if self._transport is not None:
                self._transport.abort()
            raise

    # what asyncio calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is no subclass of it
        if self.bare_socket.family != socket.AF_UNIX:
            self.bare_socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self._on_made is not None:
            self._on_made(self)

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._exact[self._filled :] if self._reader is None else self._reader.buffer()

    def buffer_updated(self, nbytes: int) -> None:
        assert self._transport is not None
        if self._reader is not None:
            self._reader.took(nbytes)
            if not self._take_frames(self._reader):
                self._transport.pause_reading()
            return
        self._filled += nbytes
        if self._filled == len(self._exact):
            self._transport.pause_reading()
            if self._full is not None and not self._full.done():
                self._full.set_result(None)

    def pause_writing(self) -> None:
        self._may_write.clear()

    def resume_writing(self) -> None:
        self._may_write.set()

    def connection_lost(self, exc: Exception | None) -> None:
        self._lost = True
        self._may_write.set()
        if self.bulk is not None:
            self.bulk.close()
        if self._full is not None and not self._full.done():
            self._full.set_exception(ConnectionResetError("the peer has gone"))
        if not self._collecting:  # else what was sent before the end still arrives
            self._inbox.end(ConnectionResetError("the peer has gone"))
        if not self._closed.done():
            self._closed.set_result(None)


def _nothing_beside() -> WireError:
    problem = "tells of a payload beside it, where there is no way for one"
    return WireError(subject="frame", problem=problem, way_out="send it within")


def _keyed(secret: bytes, purpose: bytes, greeting: bytes, first: bytes, second: bytes) -> bytes:
    return hmac.digest(secret, b"weft 3 " + purpose + greeting + first + second, "sha256")
