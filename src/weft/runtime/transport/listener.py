"""What TCP and Unix listeners share: greetings, proofs, and sockets beside a connection that join it."""

import asyncio
import contextlib
import logging
import secrets
import socket
import struct
from collections.abc import Awaitable, Callable

from weft.core.errors import WireError
from weft.runtime.transport.base import OnConnection
from weft.runtime.transport.buffers import BufferPool
from weft.runtime.transport.bulk import Bulk
from weft.runtime.transport.connection import CHALLENGE_BYTES, CLIENT, SERVER, FramedConnection

MIN_SECRET_BYTES = 32
HANDSHAKE_TIMEOUT_S = 5.0
MAX_PEERS = 1024
GREETING = struct.Struct("<8s16sBB")
"""Magic; the connection's name; how many sockets it has beside it; which of them this is (0: the connection itself)."""
MAGIC = b"weft  3\n"
MAX_BESIDE = 16

MakeBulk = Callable[[list[socket.socket], FramedConnection], Bulk]
Dial = Callable[[Callable[[], FramedConnection]], Awaitable[FramedConnection]]

_log = logging.getLogger(__name__)


def checked(secret: bytes) -> bytes:
    if len(secret) < MIN_SECRET_BYTES:
        raise WireError(
            subject="secret",
            problem=f"has {len(secret)} bytes, at least {MIN_SECRET_BYTES} are asked",
            way_out="use secrets.token_bytes(32)",
        )
    return secret


async def dial(secret: bytes, pool: BufferPool, beside: int, make_bulk: MakeBulk, connect: Dial) -> FramedConnection:
    """A proven connection, and as many sockets beside it for large payloads."""
    name = secrets.token_bytes(16)
    connection = await _dial_one(secret, pool, GREETING.pack(MAGIC, name, beside, 0), connect)
    joined: list[socket.socket] = []
    try:
        for index in range(1, beside + 1):
            extra = await _dial_one(secret, pool, GREETING.pack(MAGIC, name, beside, index), connect)
            joined.append(extra.detach())
    except BaseException:
        for each in joined:
            each.close()
        await connection.close()
        raise
    connection.bulk = make_bulk(joined, connection) if joined else None
    return connection


async def _dial_one(secret: bytes, pool: BufferPool, greeting: bytes, connect: Dial) -> FramedConnection:
    connection = await connect(lambda: FramedConnection(pool, CHALLENGE_BYTES))
    async with _closing_on_failure(connection):
        connection.write_bytes(greeting)
        await asyncio.wait_for(connection.prove(secret, greeting, CLIENT), HANDSHAKE_TIMEOUT_S)
    return connection


class Acceptor:
    """Serves whoever proves that it knows the secret; counts and ends them."""

    def __init__(self, secret: bytes, pool: BufferPool, make_bulk: MakeBulk, on_connection: OnConnection) -> None:
        self._secret = secret
        self._pool = pool
        self._make_bulk = make_bulk
        self._on_connection = on_connection
        self._tasks: set[asyncio.Task[None]] = set()
        self._closing = False
        self._awaited: dict[bytes, list[asyncio.Future[socket.socket]]] = {}

    def protocol(self) -> FramedConnection:
        return FramedConnection(self._pool, GREETING.size, self._accept)

    async def close(self) -> None:
        self._closing = True
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _accept(self, connection: FramedConnection) -> None:
        if self._closing:  # it was on its way in when the listener closed
            connection.abort()
            return
        task = asyncio.ensure_future(self._serve(connection))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        task.add_done_callback(lambda _: connection.abort())  # a task that is cancelled before it began closes nothing

    async def _serve(self, connection: FramedConnection) -> None:
        try:
            async with _closing_on_failure(connection):
                mine = await asyncio.wait_for(self._welcome(connection), HANDSHAKE_TIMEOUT_S)
        except (WireError, ConnectionError, TimeoutError) as error:
            _log.warning("refused a peer: %s", error)
            return
        if not mine:
            return
        try:
            await self._on_connection(connection)
        finally:
            await connection.close()

    async def _welcome(self, connection: FramedConnection) -> bool:
        """Proves; True for a connection that is to be served, False for a socket that joined one."""
        if len(self._tasks) > MAX_PEERS:
            raise WireError(subject="peer", problem=f"is one of more than {MAX_PEERS}", way_out="close some first")
        greeting = bytes(await connection.read(GREETING.size))
        magic, name, beside, index = GREETING.unpack(greeting)
        if magic != MAGIC or index > beside or beside > MAX_BESIDE:
            raise WireError(
                subject="peer", problem="does not speak this protocol", way_out="run the same weft on both sides"
            )
        if index == 0 and beside:
            await self._gather(connection, greeting, name, beside)
        else:
            await connection.prove(self._secret, greeting, SERVER)
        if index:
            self._join(name, index, connection)
        return index == 0

    async def _gather(self, connection: FramedConnection, greeting: bytes, name: bytes, beside: int) -> None:
        """Proves and waits for the sockets beside it; if that fails, those that came are closed."""
        places = self._expect(name, beside)  # before the proof goes out: what comes after it must find its place
        try:
            await connection.prove(self._secret, greeting, SERVER)
            connection.bulk = self._make_bulk(list(await asyncio.gather(*places)), connection)
        finally:
            del self._awaited[name]
            for place in places:
                if connection.bulk is None and place.done() and not place.cancelled():
                    place.result().close()

    def _expect(self, name: bytes, beside: int) -> "list[asyncio.Future[socket.socket]]":
        if name in self._awaited:
            raise WireError(subject="peer", problem="used the name of another connection", way_out="draw one at random")
        places = self._awaited[name] = [asyncio.get_running_loop().create_future() for _ in range(beside)]
        return places

    def _join(self, name: bytes, index: int, connection: FramedConnection) -> None:
        places = self._awaited.get(name, [])
        if not index <= len(places) or places[index - 1].done():
            raise WireError(
                subject="peer", problem="joins a connection that does not wait for it", way_out="connect anew"
            )
        places[index - 1].set_result(connection.detach())


class SocketListener:
    """What `listen` of a transport over sockets gives."""

    def __init__(self, server: asyncio.Server, address: str, acceptor: Acceptor) -> None:
        self._server = server
        self._acceptor = acceptor
        self.address = address

    async def close(self) -> None:
        self._server.close()
        await self._acceptor.close()


@contextlib.asynccontextmanager
async def _closing_on_failure(connection: FramedConnection):
    try:
        yield
    except BaseException:
        await connection.close()
        raise
