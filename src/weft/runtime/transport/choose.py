"""Which way frames take between two nodes: shared memory on one host, TCP to others, RDMA where it was asked for."""

import hmac
from collections.abc import Iterable
from typing import Literal

from weft.runtime.transport.base import Connection, Listener, OnConnection, Transport
from weft.runtime.transport.shm import AVAILABLE, PREFIX, ShmTransport
from weft.runtime.transport.tcp import LANES, LOOPBACK, TcpTransport

Way = Literal["auto", "tcp", "nixl"]
"""auto: shared memory to peers on this host, TCP to others. nixl: RDMA or what UCX finds, to all (extra `nixl`)."""


RDMA_LINKS = ("roce-", "infiniband-", "ib-")  # what ids of such links in the catalogue begin with


def node_transport(way: Way, secret: bytes, host: str = LOOPBACK, *, port: int = 0, macs: bool = False) -> Transport:
    if way == "nixl":
        from weft.runtime.transport.nixl import NixlTransport

        return NixlTransport(secret, host)
    tcp = TcpTransport(secret, host, LANES, port=port, macs=macs)
    return HostTransport(secret, tcp) if way == "auto" and AVAILABLE else tcp


def way_between(links: Iterable[str], *, rdma: bool) -> Way:
    """How nodes reach each other that hand caches over these links of the catalogue (`Deployment.links`): RDMA where
    `rdma` says that NIXL is set up and every link can do it; else the host decides: memory within one, TCP beyond."""
    names = tuple(links)
    return "nixl" if rdma and names and all(name.startswith(RDMA_LINKS) for name in names) else "auto"


class HostTransport:
    """TCP for everybody, and beside it a Unix socket whose name only peers on this host can find and only those who
    know the secret can guess: whoever reaches it is near, and both sides see the same memory."""

    def __init__(self, secret: bytes, far: TcpTransport) -> None:
        self._secret = secret
        self._far = far
        self._near = ShmTransport(secret)

    async def listen(self, on_connection: OnConnection) -> "HostListener":
        far = await self._far.listen(on_connection)
        return HostListener(far, await self._near.listen(on_connection, self._name(far.address)))

    async def connect(self, address: str) -> Connection:
        try:
            return await self._near.connect(PREFIX + self._name(address))
        except (ConnectionRefusedError, FileNotFoundError):  # not on this host
            return await self._far.connect(address)

    def _name(self, address: str) -> str:
        return "weft-" + hmac.digest(self._secret, b"near " + address.encode(), "sha256")[:16].hex()


class HostListener:
    def __init__(self, far: Listener, near: Listener) -> None:
        self._far = far
        self._near = near
        self.address = far.address

    async def close(self) -> None:
        await self._near.close()
        await self._far.close()
