"""Frames over a Unix socket, for peers on one Linux host; large payloads lie in memory that both see (segments).

Addresses are names in Linux's abstract namespace: they end with the process that listens, however it ends.
"""

import asyncio
import secrets
import socket
import sys
from collections.abc import Callable

from weft.runtime.transport.base import OnConnection
from weft.runtime.transport.buffers import BufferPool
from weft.runtime.transport.connection import FramedConnection
from weft.runtime.transport.listener import Acceptor, SocketListener, checked, dial
from weft.runtime.transport.segments import LIMIT_BYTES, Segments

AVAILABLE = sys.platform == "linux"
PREFIX = "unix:"


class ShmTransport:
    def __init__(self, secret: bytes, limit_bytes: int = LIMIT_BYTES) -> None:
        self._secret = checked(secret)
        self._limit_bytes = limit_bytes
        self._pool = BufferPool()

    async def listen(self, on_connection: OnConnection, name: str | None = None) -> SocketListener:
        acceptor = Acceptor(self._secret, self._pool, self._bulk, on_connection)
        name = name or f"weft-{secrets.token_hex(16)}"
        listening = _unix_socket()
        listening.bind(f"\0{name}")  # by ourselves: uvloop knows no abstract names
        server = await asyncio.get_running_loop().create_unix_server(acceptor.protocol, sock=listening)
        return SocketListener(server, PREFIX + name, acceptor)

    async def connect(self, address: str) -> FramedConnection:
        async def connect(protocol: Callable[[], FramedConnection]) -> FramedConnection:
            bare, loop = _unix_socket(), asyncio.get_running_loop()
            try:
                await loop.sock_connect(bare, "\0" + address.removeprefix(PREFIX))
                _, connection = await loop.create_unix_connection(protocol, sock=bare)
            except BaseException:
                bare.close()
                raise
            return connection

        return await dial(self._secret, self._pool, 1, self._bulk, connect)

    def _bulk(self, sockets: list[socket.socket], _: FramedConnection) -> Segments:
        return Segments(sockets[0], self._limit_bytes)


def _unix_socket() -> socket.socket:
    bare = socket.socket(socket.AF_UNIX)
    bare.setblocking(False)
    return bare
