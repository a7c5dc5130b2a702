"""Frames over TCP, for peers that share the secret of this run; large payloads over several sockets at once (lanes).

The stream is authentic but not encrypted, and payloads beside the frames are not in the MAC: it listens on loopback,
and beyond one machine belongs inside TLS or a private network (docs/decisions/0013).
"""

import asyncio
import socket
from collections.abc import Callable

from weft.runtime.transport.base import OnConnection
from weft.runtime.transport.buffers import BufferPool
from weft.runtime.transport.connection import FramedConnection
from weft.runtime.transport.lanes import Lanes
from weft.runtime.transport.listener import Acceptor, checked, dial

LOOPBACK = "127.0.0.1"
LANES = 4


class TcpTransport:
    """`lanes` is how many sockets the connecting side opens for large payloads; 0: they travel within the frames."""

    def __init__(self, secret: bytes, host: str = LOOPBACK, lanes: int = 0, *, port: int = 0) -> None:
        self._secret = checked(secret)
        self._host = host
        self._port = port
        self._lanes = lanes
        self._pool = BufferPool()

    async def listen(self, on_connection: OnConnection) -> "TcpListener":
        acceptor = Acceptor(self._secret, self._pool, self._bulk, on_connection)
        loop = asyncio.get_running_loop()
        return TcpListener(await loop.create_server(acceptor.protocol, self._host, self._port), self._host, acceptor)

    async def connect(self, address: str) -> FramedConnection:
        host, _, port = address.rpartition(":")

        async def connect(protocol: Callable[[], FramedConnection]) -> FramedConnection:
            _, connection = await asyncio.get_running_loop().create_connection(protocol, host, int(port))
            return connection

        return await dial(self._secret, self._pool, self._lanes, self._bulk, connect)

    def _bulk(self, sockets: list[socket.socket]) -> Lanes:
        return Lanes(sockets, self._pool)


class TcpListener:
    def __init__(self, server: asyncio.Server, host: str, acceptor: Acceptor) -> None:
        self._server = server
        self._acceptor = acceptor
        self.address = f"{host}:{server.sockets[0].getsockname()[1]}"

    async def close(self) -> None:
        self._server.close()
        await self._acceptor.close()
