"""A node that stands by itself: it listens where it is told, tells how it is, and drains when it is asked to end."""

import asyncio
import contextlib
import os
import signal
import stat
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import msgspec

from weft.core.errors import InputError
from weft.runtime.node import THREADS, Node
from weft.runtime.services import load_services
from weft.runtime.spec import NodeSpec
from weft.runtime.threads import in_thread
from weft.runtime.transport.tcp import TcpTransport

MIN_KEY_BYTES = 32

Address = tuple[str, int]


@dataclass(frozen=True, slots=True)
class Daemon:
    """`http`: where health and metrics are told; `otlp`: where spans go; `grace_s`: for steps after SIGTERM."""

    spec: NodeSpec
    key: bytes
    listen: Address
    http: Address | None = None
    otlp: str | None = None
    grace_s: float = 30.0

    def run(self, started: Callable[[str, int | None], None]) -> None:
        """Until a signal ends it. `started` gets the address for steps and the port of /healthz."""
        asyncio.run(self._serve(started))
        sys.stdout.flush()
        os._exit(0)  # a thread that is stuck in native code must not keep it alive

    async def _serve(self, started: Callable[[str, int | None], None]) -> None:
        from weft.runtime.telemetry import Telemetry, otlp_exporter

        loop = asyncio.get_running_loop()
        loop.set_default_executor(ThreadPoolExecutor(THREADS))
        asked = _signals(loop)
        began_s = time.monotonic()
        telemetry = Telemetry(self.spec, otlp_exporter(self.otlp) if self.otlp else None)
        services = await in_thread(lambda: load_services(self.spec))
        services = services.observed_by(telemetry)
        transport = TcpTransport(self.key, self.listen[0], port=self.listen[1])
        node = Node(services, transport, time.monotonic() - began_s)
        try:
            address = await node.listen()
        except OSError as error:
            place = f"{self.listen[0]}:{self.listen[1]}"
            raise InputError(
                subject=f"--listen {place}",
                problem=f"cannot be listened on ({error.strerror})",
                way_out="choose another",
            ) from error
        with contextlib.ExitStack() as at_end:
            at_end.callback(telemetry.close)
            port = None
            if self.http is not None:
                from weft.runtime.health import HealthPort

                health = HealthPort(self.http, loop, telemetry.registry, lambda: not services.gate.draining)
                at_end.callback(health.close)
                port = health.port
            started(address, port)
            await _until_asked(node, asked, self.grace_s)
            await node.close()
            if node.died is not None:
                raise node.died


def _signals(loop: asyncio.AbstractEventLoop) -> "asyncio.Queue[None]":
    asked: asyncio.Queue[None] = asyncio.Queue()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, asked.put_nowait, None)
    return asked


async def _until_asked(node: Node, asked: "asyncio.Queue[None]", grace_s: float) -> None:
    """The first signal drains, the second ends at once."""
    signalled = asyncio.create_task(asked.get())
    told = asyncio.create_task(node.stopped.wait())
    await asyncio.wait({signalled, told}, return_when=asyncio.FIRST_COMPLETED)
    if signalled.done():
        drained, again = asyncio.create_task(node.drain()), asyncio.create_task(asked.get())
        await asyncio.wait({drained, again}, timeout=grace_s, return_when=asyncio.FIRST_COMPLETED)
        for task in (drained, again):
            task.cancel()
    for task in (signalled, told):
        task.cancel()


def read_spec(path: Path) -> NodeSpec:
    """JSON or TOML with the fields of NodeSpec but `secret`, which has a file of its own."""
    try:
        data = path.read_bytes()
        decode = msgspec.toml.decode if path.suffix == ".toml" else msgspec.json.decode
        spec = decode(data, type=NodeSpec)
    except OSError as error:
        raise InputError(
            subject=str(path), problem=f"cannot be read ({error.strerror})", way_out="give a node's spec"
        ) from error
    except (msgspec.MsgspecError, ValueError) as error:
        way_out = "see docs/runtime.md for its fields"
        raise InputError(subject=str(path), problem=f"is no node's spec ({error})", way_out=way_out) from error
    if spec.secret:
        raise InputError(
            subject=str(path), problem="holds the secret", way_out="move it to a file, and give --key-file"
        )
    return spec


def read_key(path: Path) -> bytes:
    """Hex in a file that only its owner may read."""
    try:
        mode, text = path.stat().st_mode, path.read_text("utf-8").strip()
        key = bytes.fromhex(text)
    except (OSError, ValueError) as error:
        raise _bad_key(path, f"holds no key in hex ({type(error).__name__})") from error
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise InputError(subject=str(path), problem="can be read by others", way_out=f"run: chmod 600 {path}")
    if len(key) < MIN_KEY_BYTES:
        raise _bad_key(path, f"holds {len(key)} bytes, at least {MIN_KEY_BYTES} are asked")
    return key


def _bad_key(path: Path, problem: str) -> InputError:
    way_out = f"run: (umask 077; openssl rand -hex {MIN_KEY_BYTES} > {path})"
    return InputError(subject=str(path), problem=problem, way_out=way_out)
