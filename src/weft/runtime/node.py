"""A node process: serves the steps of one pool. `python -m weft.runtime.node`, with a NodeSpec as one line on stdin.

It reports one line on stdout when it can be called, and ends when told to or when stdin closes: whoever started it is
then gone, and nobody else would end it.
"""

import asyncio
import logging
import os
import signal
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import msgspec

from weft.core.errors import WeftError, WireError
from weft.runtime.engines.base import Mortal
from weft.runtime.messages import NodeInfo
from weft.runtime.peers import Peers
from weft.runtime.services import Services, load_services
from weft.runtime.session import Session
from weft.runtime.spec import MAX_SPEC_BYTES, NodeSpec, NotStarted, Started, StartReport
from weft.runtime.threads import in_thread
from weft.runtime.transport.base import Connection, Listener, Transport
from weft.runtime.transport.choose import node_transport

_log = logging.getLogger(__name__)

THREADS = 64  # steps that may block at once; most wait for a pace or a program


class Node:
    """Serves any number of peers on one transport, which it also uses to reach other nodes."""

    def __init__(self, services: Services, transport: Transport, load_s: float = 0.0) -> None:
        self.stopped = asyncio.Event()
        self._services = services
        self._transport = transport
        self._peers = Peers(transport)
        self._info = _info(services, load_s)
        self._listener: Listener | None = None
        self.died: WeftError | None = None
        if isinstance(services.engine, Mortal):
            loop = asyncio.get_running_loop()

            def tell(error: WeftError) -> None:
                loop.call_soon_threadsafe(self._die, error)

            services.engine.on_death(tell)

    async def listen(self) -> str:
        """Returns the address it can be called at."""
        self._listener = await self._transport.listen(self._serve)
        return self._listener.address

    async def drain(self) -> None:
        """Returns when the last step has ended and no cache waits for one; only steps that use up a cache may come."""
        self._services.gate.draining = True
        await self._services.gate.empty.wait()

    async def close(self) -> None:
        if self._listener is not None:
            await self._listener.close()
        await self._peers.close()
        await self._services.close()

    def _die(self, error: WeftError) -> None:
        """A node is no more than its engine."""
        self.died = error
        self.stopped.set()

    async def _serve(self, connection: Connection) -> None:
        assert self._listener is not None
        address = self._listener.address
        await Session(connection, self._services, self._peers, self._info, address, self.stopped.set).run()


def _info(services: Services, load_s: float) -> NodeInfo:
    spec, emulated = services.spec, bool(services.spec.paces)
    block_size = 0 if services.held is None else services.held.block_size
    model_hash = services.model_hash
    return NodeInfo(spec.name, spec.device, spec.kinds, emulated, model_hash, os.getpid(), load_s, block_size)


def main() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole terminal; the driver decides
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format="%(name)s: %(message)s")
    reports = os.dup(1)
    os.dup2(2, 1)  # what agent functions print must not be taken for a report
    code = asyncio.run(_run(reports))
    sys.stderr.flush()
    os._exit(code)  # a thread that is stuck in native code must not keep an orphan alive


async def _run(reports: int) -> int:
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(THREADS))
    parent = await _stdin()
    serving = asyncio.create_task(_serve(await parent.readline(), reports))
    parent_gone = asyncio.create_task(parent.read())
    await asyncio.wait({serving, parent_gone}, return_when=asyncio.FIRST_COMPLETED)
    if not serving.done():
        os._exit(0)  # loading or a step may be under way in a thread; nobody waits for it any more
    return serving.result()


async def _stdin() -> asyncio.StreamReader:
    reader = asyncio.StreamReader(limit=MAX_SPEC_BYTES)
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    return reader


async def _serve(line: bytes, reports: int) -> int:
    """Loads, listens, reports, serves; returns the exit code."""
    try:
        node = await _load(line)
        address = await node.listen()
    except WeftError as error:
        _report(reports, NotStarted(type(error).__name__, error.subject, error.problem, error.way_out))
        return error.exit_code
    _report(reports, Started(address))
    await node.stopped.wait()
    if node.died is not None:
        _log.error("%s", node.died)  # whoever watches this process finds it on stderr
        return node.died.exit_code
    await node.close()
    return 0


async def _load(line: bytes) -> Node:
    started_s = time.monotonic()
    try:
        spec = msgspec.json.decode(line, type=NodeSpec)
        secret = bytes.fromhex(spec.secret)
    except ValueError as error:
        raise WireError(subject="NodeSpec", problem=f"is malformed ({error})", way_out="send one JSON line") from error
    transport = node_transport(spec.way, secret, spec.host, macs=spec.kv_macs)
    services = await in_thread(lambda: load_services(spec))
    if spec.otlp is not None:
        from weft.runtime.telemetry import Telemetry, otlp_exporter

        services = services.observed_by(Telemetry(spec, otlp_exporter(spec.otlp)))
    return Node(services, transport, time.monotonic() - started_s)


def _report(reports: int, report: StartReport) -> None:
    os.write(reports, msgspec.json.encode(report) + b"\n")


if __name__ == "__main__":
    main()
