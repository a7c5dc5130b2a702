"""Frames over TCP, for peers that share the secret of this run; large payloads over several sockets at once (lanes).

The stream is authentic but not encrypted, and payloads beside the frames have MACs only with `macs`: it listens on
loopback, and beyond one machine belongs inside TLS or a private network (docs/decisions/0013).
"""

import asyncio
import socket
from collections.abc import Callable

from weft.runtime.transport.base import OnConnection
from weft.runtime.transport.buffers import BufferPool
from weft.runtime.transport.bulk import Bulk
from weft.runtime.transport.connection import FramedConnection
from weft.runtime.transport.lanes import Lanes
from weft.runtime.transport.listener import Acceptor, SocketListener, checked, dial
from weft.runtime.transport.sealed import SealedBulk, Tagger

LOOPBACK = "127.0.0.1"
LANES = 4


class TcpTransport:
    """`lanes` is how many sockets the connecting side opens for large payloads; 0: they travel within the frames.
    `macs`: payloads on lanes have MACs as well; both sides must want it."""

    def __init__(
        self, secret: bytes, host: str = LOOPBACK, lanes: int = 0, *, port: int = 0, macs: bool = False
    ) -> None:
        self._macs = macs
        self._secret = checked(secret)
        self._host = host
        self._port = port
        self._lanes = lanes
        self._pool = BufferPool()

    async def listen(self, on_connection: OnConnection) -> SocketListener:
        acceptor = Acceptor(self._secret, self._pool, self._bulk, on_connection)
        server = await asyncio.get_running_loop().create_server(acceptor.protocol, self._host, self._port)
        return SocketListener(server, address_of(server, self._host), acceptor)

    async def connect(self, address: str) -> FramedConnection:
        host, _, port = address.rpartition(":")

        async def connect(protocol: Callable[[], FramedConnection]) -> FramedConnection:
            _, connection = await asyncio.get_running_loop().create_connection(protocol, host, int(port))
            return connection

        return await dial(self._secret, self._pool, self._lanes, self._bulk, connect)

    def _bulk(self, sockets: list[socket.socket], connection: FramedConnection) -> Bulk:
        lanes = Lanes(sockets, self._pool)
        return SealedBulk(lanes, *map(Tagger, connection.bulk_keys)) if self._macs else lanes


def address_of(server: asyncio.Server, host: str) -> str:
    return f"{host}:{server.sockets[0].getsockname()[1]}"
