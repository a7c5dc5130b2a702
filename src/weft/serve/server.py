"""The HTTP server around the application: listens, and ends without losing a run."""

import asyncio
import contextlib
import ipaddress
import socket
from collections.abc import AsyncGenerator
from dataclasses import dataclass

from granian.constants import HTTPModes, Interfaces
from granian.server.embed import Server

from weft.core.errors import InputError
from weft.serve.api.app import App
from weft.serve.api.keys import Keys

BACKLOG = 1024
STARTED_S = 10.0


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
    if not address.loopback and not keys.names:
        raise InputError(
            subject=f"--host {address.host}",
            problem="other machines can reach it, and there are no API keys",
            way_out="give --keys FILE, or stay on 127.0.0.1",
        )


@contextlib.asynccontextmanager
async def listening(app: App, address: Address, grace_s: float) -> AsyncGenerator[None]:
    """Inside, `app` answers at `address`. On the way out new runs are refused, those under way get `grace_s`."""
    server = Server(
        app, address.host, address.port, interface=Interfaces.ASGINL, http=HTTPModes.http1, websockets=False,
        backlog=BACKLOG, log_enabled=False,
    )  # fmt: skip
    serving = asyncio.create_task(server.serve())
    try:
        await _answering(address, serving)
        yield
        app.draining = True
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(grace_s):
                while app.agents.running:
                    await asyncio.sleep(0.05)
    finally:
        server.stop()
        await asyncio.wait({serving}, timeout=STARTED_S)
        serving.cancel()


async def _answering(address: Address, serving: "asyncio.Task[None]") -> None:
    async with asyncio.timeout(STARTED_S):
        while True:
            if serving.done():
                serving.result()
                raise InputError(subject=address.url, problem="the server ended at once", way_out="see its log")
            with contextlib.suppress(OSError):
                _, writer = await asyncio.open_connection(address.host, address.port)
                writer.close()
                return
            await asyncio.sleep(0.01)
