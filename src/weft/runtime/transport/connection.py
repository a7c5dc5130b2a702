"""One connection over a stream socket: proof of the run's secret, then frames with a MAC; bulk goes beside it."""

import asyncio
import contextlib
import hmac
import secrets
import socket
from asyncio.trsock import TransportSocket
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

from weft.core.errors import WireError
from weft.runtime.transport import framing
from weft.runtime.transport.base import Buffer, Frame
from weft.runtime.transport.buffers import BufferPool
from weft.runtime.transport.bulk import BULK_BYTES, Bulk

CHALLENGE_BYTES = PROOF_BYTES = 32
T = TypeVar("T")
CLOSE_GRACE_S = 0.5  # a peer that reads nothing must not hold us longer


@dataclass(frozen=True, slots=True)
class Role:
    """Who proves: the same bytes mean something else from the other side."""

    own: bytes
    peer: bytes


CLIENT, SERVER = Role(b"client", b"server"), Role(b"server", b"client")


class FramedConnection(asyncio.BufferedProtocol):
    """Reads exactly what is asked for, straight into the buffer that the frame will keep."""

    def __init__(self, pool: BufferPool, on_made: "Callable[[FramedConnection], None] | None" = None) -> None:
        self.bulk: Bulk | None = None
        self.bulk_keys: tuple[bytes, ...] = ()
        self._pool = pool
        self._on_made = on_made
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._buffer = memoryview(b"")
        self._filled = 0
        self._full: asyncio.Future[None] | None = None
        self._may_write = asyncio.Event()
        self._may_write.set()
        self._lost = False
        self._closed = self._loop.create_future()
        self._sending = asyncio.Lock()  # of bulk payloads
        self._sends: set[asyncio.Task[None]] = set()
        self._incoming, self._outgoing = framing.Sealer(b""), framing.Sealer(b"")

    @property
    def bare_socket(self) -> TransportSocket:
        assert self._transport is not None
        return self._transport.get_extra_info("socket")

    async def send(self, frame: Frame) -> None:
        size = sum(len(part) for part in frame.payload)
        if self.bulk is not None and BULK_BYTES <= size <= framing.MAX_PAYLOAD_BYTES:
            # not cancelled with its waiter: half a payload would make nonsense of what comes after it
            sending = asyncio.create_task(self._send_bulk(self.bulk, frame, size))
            self._sends.add(sending)
            sending.add_done_callback(self._sends.discard)
            await asyncio.shield(sending)
        else:
            self.write(*framing.encode(frame, self._outgoing))
            await self._may_write.wait()

    async def receive(self) -> Frame:
        prefix = await self.read(framing.PREFIX_BYTES)
        header_bytes, ticket_bytes, payload_bytes = framing.read_prefix(prefix)
        within = 0 if ticket_bytes else payload_bytes
        body = await self.read(ticket_bytes + header_bytes + within)
        framing.check(prefix, body, self._incoming)
        ticket, header, payload = _split(body, ticket_bytes, header_bytes)
        message = framing.messages.decode(header)
        if ticket_bytes:
            payload = await self._collect(ticket, payload_bytes)
        return Frame(message, (payload,))

    async def close(self) -> None:
        if self.bulk is not None:
            self.bulk.close()
        if self._transport is not None:
            self._transport.close()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(asyncio.shield(self._closed), CLOSE_GRACE_S)
            self._transport.abort()
        await asyncio.gather(*self._sends, return_exceptions=True)

    def abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    async def prove(self, secret: bytes, greeting: bytes, role: Role) -> None:
        """Both sides send a challenge, then the proof over both and the greeting: none can be replayed or mirrored.
        What comes after has keys that only these two challenges give."""
        own = secrets.token_bytes(CHALLENGE_BYTES)
        self.write(own)
        peers = bytes(await self.read(CHALLENGE_BYTES))
        self.write(_keyed(secret, b"proof " + role.own, greeting, own, peers))
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

    def write(self, *parts: Buffer) -> None:
        """Bytes as they are. All at once, so that frames of several tasks do not mix."""
        if self._lost or self._transport is None:
            raise ConnectionResetError("the peer has gone")
        for part in parts:
            self._transport.write(part)

    async def read(self, size: int) -> memoryview:
        if self._lost or self._transport is None:
            raise ConnectionResetError("the peer has gone")
        self._buffer, self._filled = self._pool.lend(size), 0
        whole = self._buffer
        self._full = self._loop.create_future()
        self._transport.resume_reading()
        try:
            await self._full
        finally:  # whoever asked keeps the buffer, as long as it needs it; an error keeps the frames that it passed
            self._buffer, self._full = memoryview(b""), None
        return whole

    def detach(self) -> socket.socket:
        """The bare socket. Nothing that the peer sent after its proof is lost: nothing was read ahead."""
        assert self._transport is not None
        bare = self.bare_socket.dup()
        self._transport.abort()
        return bare

    async def _send_bulk(self, bulk: Bulk, frame: Frame, size: int) -> None:
        async with self._sending:
            ticket = await bulk.prepare(frame.payload, size)
            self.write(*framing.encode(frame, self._outgoing, ticket or b""))
            await self._may_write.wait()
            if ticket is not None:
                await self._ending_on_failure(bulk.deliver(frame.payload, size))

    async def _collect(self, ticket: memoryview, size: int) -> memoryview:
        if self.bulk is None:
            raise WireError(
                subject="frame",
                problem="tells of a payload beside it, where there is no way for one",
                way_out="send it within",
            )
        return await self._ending_on_failure(self.bulk.collect(ticket, size))

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
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        if self.bare_socket.family != socket.AF_UNIX:
            self.bare_socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        transport.pause_reading()  # until someone reads
        if self._on_made is not None:
            self._on_made(self)

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._buffer[self._filled :]

    def buffer_updated(self, nbytes: int) -> None:
        self._filled += nbytes
        if self._filled == len(self._buffer) and self._transport is not None and self._full is not None:
            self._transport.pause_reading()
            if not self._full.done():
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
        if not self._closed.done():
            self._closed.set_result(None)


def _split(body: memoryview, ticket_bytes: int, header_bytes: int) -> tuple[memoryview, memoryview, memoryview]:
    end = ticket_bytes + header_bytes
    return body[:ticket_bytes], body[ticket_bytes:end], body[end:]


def _keyed(secret: bytes, purpose: bytes, greeting: bytes, first: bytes, second: bytes) -> bytes:
    return hmac.digest(secret, b"weft 2 " + purpose + greeting + first + second, "sha256")
