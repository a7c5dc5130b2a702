"""Frames over TCP, for peers that share the secret of this run.

Before the first frame both sides prove by HMAC-SHA256 over fresh challenges that they know the secret; a peer that
does not reaches no parser. The stream is then neither encrypted nor signed: it listens on loopback, and beyond one
machine belongs inside TLS (docs/decisions/0003).
"""

import asyncio
import contextlib
import hmac
import logging
import secrets
import socket
from asyncio.trsock import TransportSocket
from collections.abc import Callable

from weft.core.errors import WireError
from weft.runtime.transport import framing
from weft.runtime.transport.base import Buffer, Frame, OnConnection

MIN_SECRET_BYTES = 32
CHALLENGE_BYTES = PROOF_BYTES = 32
HANDSHAKE_TIMEOUT_S = 5.0
LOOPBACK = "127.0.0.1"

_log = logging.getLogger(__name__)


class TcpConnection(asyncio.BufferedProtocol):
    """Reads exactly what is asked for, straight into the buffer that the frame will keep."""

    def __init__(self, on_made: Callable[["TcpConnection"], None] | None = None) -> None:
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

    @property
    def socket(self) -> TransportSocket:
        assert self._transport is not None
        return self._transport.get_extra_info("socket")

    async def send(self, frame: Frame) -> None:
        self.write(*framing.encode(frame))
        await self._may_write.wait()

    async def receive(self) -> Frame:
        header_bytes, payload_bytes = framing.read_prefix(await self._read(framing.PREFIX.size))
        return framing.decode(await self._read(header_bytes + payload_bytes), header_bytes)

    async def close(self) -> None:
        if self._transport is not None:
            self._transport.close()
            with contextlib.suppress(TimeoutError):  # a peer that reads nothing must not hold us
                await asyncio.wait_for(asyncio.shield(self._closed), 0.5)
            self._transport.abort()

    async def prove(self, secret: bytes, role: bytes, peer_role: bytes) -> None:
        """Both sides send a challenge, then the proof over both: neither can be replayed or mirrored."""
        challenge = secrets.token_bytes(CHALLENGE_BYTES)
        self.write(challenge)
        peer_challenge = bytes(await self._read(CHALLENGE_BYTES))
        self.write(_proof(secret, role, challenge, peer_challenge))
        expected = _proof(secret, peer_role, peer_challenge, challenge)
        if not hmac.compare_digest(expected, await self._read(PROOF_BYTES)):
            raise WireError(
                subject="peer", problem="does not know this run's secret", way_out="start it from the same fleet"
            )

    def write(self, *parts: Buffer) -> None:
        """Bytes as they are. All at once, so that frames of several tasks do not mix."""
        if self._lost or self._transport is None:
            raise ConnectionResetError("the peer has gone")
        for part in parts:
            self._transport.write(part)

    async def _read(self, size: int) -> memoryview:
        if self._lost or self._transport is None:
            raise ConnectionResetError("the peer has gone")
        self._buffer, self._filled = memoryview(bytearray(size)), 0
        self._full = self._loop.create_future()
        self._transport.resume_reading()
        await self._full
        return self._buffer

    # what asyncio calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
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
        if self._full is not None and not self._full.done():
            self._full.set_exception(ConnectionResetError("the peer has gone"))
        if not self._closed.done():
            self._closed.set_result(None)


class TcpTransport:
    def __init__(self, secret: bytes, host: str = LOOPBACK, *, port: int = 0) -> None:
        if len(secret) < MIN_SECRET_BYTES:
            raise WireError(
                subject="secret",
                problem=f"has {len(secret)} bytes, at least {MIN_SECRET_BYTES} are asked",
                way_out="use secrets.token_bytes(32)",
            )
        self._secret = secret
        self._host = host
        self._port = port

    async def listen(self, on_connection: OnConnection) -> "TcpListener":
        listener = TcpListener(self._secret, on_connection)
        await listener.bind(self._host, self._port)
        return listener

    async def connect(self, address: str) -> TcpConnection:
        host, _, port = address.rpartition(":")
        _, connection = await asyncio.get_running_loop().create_connection(TcpConnection, host, int(port))
        await _handshake(connection, self._secret, b"client", b"server")
        return connection


class TcpListener:
    def __init__(self, secret: bytes, on_connection: OnConnection) -> None:
        self._secret = secret
        self._on_connection = on_connection
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None
        self.address = ""

    async def bind(self, host: str, port: int) -> None:
        self._server = await asyncio.get_running_loop().create_server(lambda: TcpConnection(self._accept), host, port)
        self.address = f"{host}:{self._server.sockets[0].getsockname()[1]}"

    async def close(self) -> None:
        if self._server is not None:
            self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _accept(self, connection: TcpConnection) -> None:
        task = asyncio.ensure_future(self._serve(connection))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, connection: TcpConnection) -> None:
        try:
            await _handshake(connection, self._secret, b"server", b"client")
        except (WireError, ConnectionError, TimeoutError) as error:
            _log.warning("refused a peer: %s", error)
            return
        try:
            await self._on_connection(connection)
        finally:
            await connection.close()


async def _handshake(connection: TcpConnection, secret: bytes, role: bytes, peer_role: bytes) -> None:
    try:
        await asyncio.wait_for(connection.prove(secret, role, peer_role), HANDSHAKE_TIMEOUT_S)
    except BaseException:
        await connection.close()
        raise


def _proof(secret: bytes, role: bytes, own_challenge: bytes, peer_challenge: bytes) -> bytes:
    return hmac.digest(secret, b"weft 1 " + role + own_challenge + peer_challenge, "sha256")
