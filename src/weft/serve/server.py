"""Where the application is served: listens, and ends without losing a run."""

import asyncio
import contextlib
import gc
import ipaddress
import resource
import socket
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass

from weft.core.errors import InputError
from weft.serve.api.app import App
from weft.serve.api.keys import Keys
from weft.serve.door import Door

BACKLOG = 4096
YOUNG = 10_000
"""Objects after which the collector looks for cycles. A request makes hundreds, none of them a cycle: by default all
that is under way would be looked through with each."""


@dataclass(frozen=True, slots=True)
class Address:
    """Where to listen. `port` 0 takes one that is free."""

    host: str = "127.0.0.1"
    port: int = 8080

    @property
    def loopback(self) -> bool:
        with contextlib.suppress(ValueError):
            return ipaddress.ip_address(self.host).is_loopback
        return self.host == "localhost"

    @property
    def url(self) -> str:
        return f"http://{f'[{self.host}]' if ':' in self.host else self.host}:{self.port}"

    def opened(self) -> tuple["Address", tuple[socket.socket, ...]]:
        """The same with a port of its own, and what listens there. Raises InputError where nothing can."""
        sockets, port = list[socket.socket](), self.port
        try:
            found = socket.getaddrinfo(self.host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
            for family, place in dict.fromkeys((each[0], each[4]) for each in found):
                sockets.append(socket.create_server((place[0], port), family=family, backlog=BACKLOG))
                port = sockets[0].getsockname()[1]
            return Address(self.host, port), tuple(sockets)
        except OSError as error:
            for each in sockets:
                each.close()
            problem, way_out = f"cannot listen: {error.strerror or error}", "choose another --host or --port"
            raise InputError(subject=f"{self.host}:{self.port}", problem=problem, way_out=way_out) from error


def check_open(address: Address, keys: Keys) -> None:
    """Raises InputError where everybody could call from other machines."""
    if not address.loopback and not keys.callers:
        raise InputError(
            subject=f"--host {address.host}",
            problem="other machines can reach it, and there are no API keys",
            way_out="give --keys FILE, or stay on 127.0.0.1",
        )


@contextlib.asynccontextmanager
async def listening(app: App, sockets: Sequence[socket.socket], grace_s: float) -> AsyncGenerator[None]:
    """Inside, `app` answers at `sockets` (Address.opened). On the way out new runs are refused, those under way get
    `grace_s`."""
    _allow_many_sockets()
    gc.collect()
    gc.freeze()  # what is loaded by now stays: looking it through again and again costs milliseconds each time
    before = gc.get_threshold()
    gc.set_threshold(YOUNG, *before[1:])
    door = Door(app, app.limits)
    loop = asyncio.get_running_loop()
    servers = [await loop.create_server(door.protocol, sock=each, backlog=BACKLOG) for each in sockets]
    try:
        yield
        app.draining = True
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(grace_s):
                while app.busy > 0:
                    await asyncio.sleep(0.05)
        door.close()
        await asyncio.sleep(0)  # what is written has left when the loop turns
    finally:
        gc.set_threshold(*before)
        gc.unfreeze()
        for server in servers:
            server.close()
        door.abort()
        for server in servers:
            await server.wait_closed()


def _allow_many_sockets() -> None:
    """As many as this user may have: the usual 1,024 is a limit of old programs, not of the system."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
