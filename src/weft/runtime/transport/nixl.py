# pyright: standard
"""Large payloads by NIXL: RDMA where UCX finds an adapter, else UCX's own shared memory or TCP. Extra `nixl`.

Frames travel over TCP. The sender puts a payload into registered memory and tells where; the receiver reads it from
there into registered memory of its own, and answers on a socket beside the connection, which also tells either side
when the other has died: RDMA alone would not. NIXL's helpers that pickle descriptors are not used, nor its progress
thread, which takes a whole core as long as the agent lives: both sides drive UCX while a payload is on its way.
"""

import asyncio
import contextlib
import logging
import mmap
import secrets
import socket
import struct
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from weft.core.errors import MissingProgramError, WireError
from weft.runtime.threads import in_thread
from weft.runtime.transport.base import Buffer, OnConnection
from weft.runtime.transport.buffers import KEPT_BYTES, BufferPool, class_of, fill, lent
from weft.runtime.transport.bulk import STALL_S
from weft.runtime.transport.connection import FramedConnection
from weft.runtime.transport.listener import Acceptor, SocketListener, checked, dial
from weft.runtime.transport.tcp import LOOPBACK, address_of

TICKET = struct.Struct("<QQ")  # address, then a number that the answer repeats; the agent's metadata follows
ANSWER = struct.Struct("<Q")
POLL_S = 0.0002


class Agent:
    """One NIXL agent for a process, and the memory that it has registered. Its calls are not safe side by side."""

    def __init__(self) -> None:
        try:
            from nixl._api import nixl_agent, nixl_agent_config  # pyright: ignore[reportMissingImports]
        except ImportError as error:
            raise MissingProgramError(
                subject="nixl", problem=f"cannot be imported ({error})", way_out="pip install --no-deps nixl nixl-cu12"
            ) from error
        log = logging.getLogger("nixl")
        log.handlers.clear()  # it writes to standard output, where a node tells its address
        log.propagate = True
        self._name = f"weft-{secrets.token_hex(8)}"
        self._agent: Any = nixl_agent(self._name, nixl_agent_config(enable_prog_thread=False, backends=["UCX"]))
        self._lock = threading.Lock()
        self._names: dict[bytes, str] = {}
        self._registered: dict[int, Any] = {}
        self._free: list[mmap.mmap] = []
        self._returned: deque[mmap.mmap] = deque()

    def lend(self, size: int) -> memoryview:
        """Registered memory; it comes back when its last view has gone."""
        size_class = class_of(size)
        with self._lock:
            self._take_back()
            region = next((region for region in self._free if len(region) == size_class), None)
            if region is None:
                region = mmap.mmap(-1, size_class)
                descriptor = [(_address(region), size_class, 0, "")]
                self._registered[id(region)] = self._agent.register_memory(descriptor, "DRAM")
            else:
                self._free.remove(region)
        return lent(region, size, self._returned.append)

    def metadata(self) -> bytes:
        with self._lock:
            metadata = self._agent.get_agent_metadata()
            self._names[metadata] = self._name  # an agent may read from itself, but not be added
            return metadata

    def read(self, metadata: bytes, address: int, target: memoryview) -> None:
        """Blocks until the peer's memory has been copied into `target`."""
        with self._lock:
            name = self._names.get(metadata) or self._agent.add_remote_agent(metadata)
            self._names[metadata] = name
            here = self._agent.get_xfer_descs([(_address(target), len(target), 0)], "DRAM")
            there = self._agent.get_xfer_descs([(address, len(target), 0)], "DRAM")
            handle = self._agent.initialize_xfer("READ", here, there, name)
            state = self._agent.transfer(handle)
        deadline_s = time.monotonic() + STALL_S
        while state == "PROC" and time.monotonic() < deadline_s:
            time.sleep(POLL_S)
            with self._lock:
                state = self._agent.check_xfer_state(handle)
        with self._lock:
            self._agent.release_xfer_handle(handle)
        if state != "DONE":
            raise ConnectionResetError(f"a NIXL read ended as {state}")

    def serve(self, done: threading.Event) -> None:
        """Answers whoever reads our memory, where that needs us: while UCX connects, and without RDMA."""
        while not done.wait(POLL_S):
            with self._lock:
                self._agent.get_new_notifs()

    def _take_back(self) -> None:
        while self._returned:
            region = self._returned.popleft()
            if sum(map(len, self._free)) + len(region) > KEPT_BYTES:
                self._agent.deregister_memory(self._registered.pop(id(region)))
            else:
                self._free.append(region)


class NixlBulk:
    """`channel` carries the answers to what was read."""

    def __init__(self, channel: socket.socket, agent: Agent) -> None:
        self._channel = channel
        self._agent = agent
        self._count = 0
        self._lent = memoryview(b"")
        channel.setblocking(False)

    async def prepare(self, parts: Sequence[Buffer], size: int) -> bytes | None:
        self._count += 1
        self._lent = staged = await in_thread(lambda: self._agent.lend(size))
        await in_thread(lambda: fill(np.frombuffer(staged, np.uint8), parts))
        return TICKET.pack(_address(staged), self._count) + self._agent.metadata()

    async def deliver(self, parts: Sequence[Buffer], size: int) -> None:
        done = threading.Event()
        serving = asyncio.ensure_future(in_thread(lambda: self._agent.serve(done)))
        try:
            await self._answer()
        finally:
            done.set()
            await serving
        self._lent = memoryview(b"")

    async def _answer(self) -> None:
        answer = b""
        while len(answer) < ANSWER.size:
            with _lost():
                piece = await asyncio.get_running_loop().sock_recv(self._channel, ANSWER.size - len(answer))
            if not piece:
                raise ConnectionResetError("the peer has gone")
            answer += piece
        if ANSWER.unpack(answer) != (self._count,):
            raise _refusal("answered to another payload")

    async def collect(self, ticket: memoryview, size: int) -> memoryview:
        if len(ticket) <= TICKET.size:
            raise _refusal("sent a ticket that is not for NIXL")
        (address, count), metadata = TICKET.unpack_from(ticket), bytes(ticket[TICKET.size :])
        target = await in_thread(lambda: self._agent.lend(size))
        try:
            await in_thread(lambda: self._agent.read(metadata, address, target))
        except (OSError, WireError):
            raise
        except Exception as error:  # NIXL raises types of its own
            raise ConnectionResetError(f"NIXL: {type(error).__name__}: {error}") from error
        with _lost():
            await asyncio.get_running_loop().sock_sendall(self._channel, ANSWER.pack(count))
        return target

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._channel.shutdown(socket.SHUT_RDWR)  # ends a wait for an answer
        asyncio.get_running_loop().call_soon(self._channel.close)


class NixlTransport:
    def __init__(self, secret: bytes, host: str = LOOPBACK) -> None:
        self._secret = checked(secret)
        self._host = host
        self._pool = BufferPool()
        self._agent = Agent()

    async def listen(self, on_connection: OnConnection) -> SocketListener:
        acceptor = Acceptor(self._secret, self._pool, self._bulk, on_connection)
        server = await asyncio.get_running_loop().create_server(acceptor.protocol, self._host, 0)
        return SocketListener(server, address_of(server, self._host), acceptor)

    async def connect(self, address: str) -> FramedConnection:
        host, _, port = address.rpartition(":")

        async def connect(protocol: Callable[[], FramedConnection]) -> FramedConnection:
            _, connection = await asyncio.get_running_loop().create_connection(protocol, host, int(port))
            return connection

        return await dial(self._secret, self._pool, 1, self._bulk, connect)

    def _bulk(self, sockets: list[socket.socket], _: FramedConnection) -> NixlBulk:
        return NixlBulk(sockets[0], self._agent)


def _address(memory: Buffer | mmap.mmap) -> int:
    return np.frombuffer(memory, np.uint8).ctypes.data


@contextlib.contextmanager
def _lost():
    try:
        yield
    except ConnectionError:
        raise
    except OSError as error:
        raise ConnectionResetError(str(error)) from error


def _refusal(problem: str) -> WireError:
    return WireError(subject="peer", problem=problem, way_out="run the same version of weft on both sides")
