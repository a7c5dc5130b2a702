"""Where the application is served: listens, and ends without losing a run."""

import asyncio
import contextlib
import gc
import ipaddress
import resource
import socket
from collections.abc import AsyncGenerator
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

    def bindable(self) -> "Address":
        """The same with a port of its own. Raises InputError where nothing can listen there."""
        family = socket.AF_INET6 if ":" in self.host else socket.AF_INET
        try:
            with socket.socket(family) as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind((self.host, self.port))
                return Address(self.host, probe.getsockname()[1])
        except OSError as error:
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
async def listening(app: App, address: Address, grace_s: float) -> AsyncGenerator[None]:
    """Inside, `app` answers at `address`. On the way out new runs are refused, those under way get `grace_s`."""
    _allow_many_sockets()
    gc.collect()
    gc.freeze()  # what is loaded by now stays: looking it through again and again costs milliseconds each time
    before = gc.get_threshold()
    gc.set_threshold(YOUNG, *before[1:])
    door = Door(app, app.limits)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(door.protocol, address.host, address.port, backlog=BACKLOG)
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
        server.close()
        door.abort()
        await server.wait_closed()


def _allow_many_sockets() -> None:
    """As many as this user may have: the usual 1,024 is a limit of old programs, not of the system."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
