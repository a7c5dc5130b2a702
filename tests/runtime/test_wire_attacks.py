"""What a peer that knows the secret, or somebody on its line, may send instead of what is due: on every way it ends as
one WireError or lost connection at this peer, and the listener serves the others on."""

import asyncio
import contextlib
import fcntl
import importlib.util
import os
import secrets
import socket
import struct
import subprocess
import sys
from collections.abc import AsyncGenerator, Callable, Coroutine
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from weft.core.errors import WireError
from weft.runtime import messages
from weft.runtime.transport import framing
from weft.runtime.transport.base import Buffer, Connection, Frame, Transport
from weft.runtime.transport.buffers import BufferPool
from weft.runtime.transport.bulk import BULK_BYTES
from weft.runtime.transport.connection import FramedConnection
from weft.runtime.transport.frame_reader import FrameReader
from weft.runtime.transport.segments import RECORD, SEALS, TICKET, Segments
from weft.runtime.transport.shm import ShmTransport
from weft.runtime.transport.tcp import TcpTransport

SECRET = secrets.token_bytes(32)
WAYS: dict[str, Callable[[], Transport]] = {
    "tcp": lambda: TcpTransport(SECRET),
    "lanes": lambda: TcpTransport(SECRET, lanes=2),
    "shm": lambda: ShmTransport(SECRET),
}
FRAMES = [Frame(messages.Chunk(at), (bytes([at]) * (100 * at),)) for at in range(3)]


def stream() -> list[bytes]:
    """Frames as they leave a sender."""
    sealer = framing.Sealer(SECRET)
    return [b"".join(framing.encode(frame, sealer)) for frame in FRAMES]


def taken(data: bytes) -> list[messages.Wire]:
    """What a reader takes of it, until it refuses or wants more."""
    reader, found = FrameReader(BufferPool(), framing.Sealer(SECRET)), list[messages.Wire]()
    with contextlib.suppress(WireError):
        while data:
            room = reader.buffer()
            count = min(len(room), len(data))
            room[:count], data = data[:count], data[count:]
            reader.took(count)
            while (arrived := reader.next()) is not None:
                found.append(arrived.message)
    return found


@given(st.data())
def test_a_flipped_bit_lets_nothing_pass_from_its_frame_on(data: st.DataObject) -> None:
    frames = stream()
    whole = bytearray(b"".join(frames))
    place = data.draw(st.integers(0, len(whole) - 1))
    whole[place] ^= 1 << data.draw(st.integers(0, 7))
    before = sum(len(b"".join(frames[: at + 1])) <= place for at in range(len(frames)))
    assert taken(bytes(whole)) == [frame.message for frame in FRAMES[:before]]


@given(st.integers(0, len(b"".join(stream()))))
def test_a_truncated_stream_gives_whole_frames_only(size: int) -> None:
    frames = stream()
    there = sum(len(b"".join(frames[: at + 1])) <= size for at in range(len(frames)))
    assert taken(b"".join(frames)[:size]) == [frame.message for frame in FRAMES[:there]]


@given(st.lists(st.integers(0, 2), max_size=5))
def test_frames_pass_once_and_in_order_only(order: list[int]) -> None:
    """Replayed, left out and moved ones are refused, and all that comes after."""
    frames, due = stream(), 0
    while due < len(order) and order[due] == due:
        due += 1
    assert taken(b"".join(frames[at] for at in order)) == [frame.message for frame in FRAMES[:due]]


@contextlib.asynccontextmanager
async def attacked(way: str) -> AsyncGenerator[tuple[FramedConnection, Connection, Callable[[], int]], None]:
    """A client that does as it likes, and what it reached; afterwards the listener must serve another one."""
    reached: asyncio.Queue[Connection] = asyncio.Queue()
    ended, transport = asyncio.Event(), WAYS[way]()

    async def on_connection(connection: Connection) -> None:
        reached.put_nowait(connection)
        await ended.wait()

    listener = await transport.listen(on_connection)
    client = await transport.connect(listener.address)
    assert isinstance(client, FramedConnection)
    try:
        yield client, await reached.get(), reached.qsize
        honest = await WAYS[way]().connect(listener.address)
        await honest.send(Frame(messages.KvLayer(1), (bytes(BULK_BYTES),)))
        served = await asyncio.wait_for(reached.get(), 5)
        assert len((await asyncio.wait_for(served.receive(), 5)).data) == BULK_BYTES
        await honest.close()
    finally:
        ended.set()
        await client.close()
        await listener.close()


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    "noise",
    [
        struct.pack("<IIQ", 2**32 - 1, 0, 0) + bytes(16),
        struct.pack("<IIQ", 8, 0, framing.MAX_PAYLOAD_BYTES + 1) + bytes(16),
        struct.pack("<IIQ", 8, framing.MAX_TICKET_BYTES + 1, 8) + bytes(16),
        struct.pack("<IIQ", 8, 0, 8) + bytes(32),
    ],
    ids=["header", "payload", "ticket", "no MAC"],
)
async def test_frames_that_no_peer_sends(way: str, noise: bytes) -> None:
    async with attacked(way) as (client, server, _):
        client.write_bytes(noise)
        with pytest.raises(WireError):
            await asyncio.wait_for(server.receive(), 5)


@pytest.mark.parametrize("way", WAYS)
async def test_a_frame_that_is_cut_ends_the_connection(way: str) -> None:
    async with attacked(way) as (client, server, _):
        await client.send(Frame(messages.Ping(1)))
        assert (await server.receive()).message == messages.Ping(1)
        client.write_bytes(struct.pack("<IIQ", 8, 0, 1000) + bytes(100))
        await client.close()
        with pytest.raises(ConnectionError):
            await asyncio.wait_for(server.receive(), 5)


class Lying:
    """A bulk that says one ticket and sends nothing."""

    def __init__(self, ticket: bytes) -> None:
        self._ticket = ticket

    async def prepare(self, parts: object, size: int) -> bytes:
        return self._ticket

    async def deliver(self, parts: object, size: int) -> None: ...

    async def collect(self, ticket: memoryview, size: int) -> memoryview:
        raise NotImplementedError

    def close(self) -> None: ...


@pytest.mark.parametrize(
    ("way", "ticket"), [("tcp", b"lanes"), ("lanes", b"?"), ("shm", TICKET.pack(7)), ("shm", b"?")]
)
async def test_tickets_for_nothing(way: str, ticket: bytes) -> None:
    async with attacked(way) as (client, server, _):
        honest, client.bulk = client.bulk, Lying(ticket)
        await client.send(Frame(messages.KvLayer(1), (bytes(BULK_BYTES),)))
        with pytest.raises(WireError):
            await asyncio.wait_for(server.receive(), 5)
        client.bulk = honest


RECORDS = st.lists(st.tuples(st.sampled_from([b"O", b"C", b"R", b"?"]), st.integers(0, 3)), max_size=6)


@settings(max_examples=30, suppress_health_check=[HealthCheck.too_slow])
@given(
    RECORDS, st.lists(st.tuples(st.integers(0, 2), st.booleans()), max_size=3), st.integers(0, 3), st.integers(0, 9000)
)
def test_records_of_segments_are_checked(
    records: list[tuple[bytes, int]], made: list[tuple[int, bool]], name: int, size: int
) -> None:
    """A payload comes only out of a sealed segment that was opened under its name and is large enough."""
    before = open_files()
    ours, theirs = socket.socketpair(socket.AF_UNIX)
    bulk = Segments(ours)
    descriptors = [_memfd(pages * 4096, sealed=sealed) for pages, sealed in made]
    socket.send_fds(theirs, [b"".join(RECORD.pack(*each) for each in records) or b"?"], descriptors)
    with contextlib.suppress(WireError):
        payload = at_once(bulk.collect(memoryview(TICKET.pack(name)), size))
        pages, sealed = made[[at for kind, at in records if kind == b"O"].index(name)]
        assert sealed and len(payload) == size <= 4096 * pages
        del payload
    bulk.close()
    theirs.close()
    for each in descriptors:
        os.close(each)
    assert open_files() == before


def at_once(work: Coroutine[object, object, memoryview]) -> memoryview:
    """What it returns without waiting for anything."""
    try:
        work.send(None)
    except StopIteration as ended:
        return ended.value
    raise AssertionError("waits")


def open_files() -> int:
    return len([*Path("/proc/self/fd").iterdir()])


def _memfd(size: int, *, sealed: bool) -> int:
    descriptor = os.memfd_create("test", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    os.ftruncate(descriptor, size)
    if sealed:
        fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, SEALS)
    return descriptor


async def test_segments_are_used_again_the_last_one_first() -> None:
    """A receiver that lets go of each payload sees one segment, however many come."""
    ours, theirs = socket.socketpair(socket.AF_UNIX)
    sender, receiver = Segments(ours), Segments(theirs)
    names = set[bytes]()
    parts: tuple[Buffer, ...] = (bytes(BULK_BYTES),)
    held = list[memoryview]()
    for turn in range(20):
        ticket = await sender.prepare(parts, BULK_BYTES)
        assert ticket is not None
        await sender.deliver(parts, BULK_BYTES)
        payload = await receiver.collect(memoryview(ticket), BULK_BYTES)
        if turn < 3:
            held.append(payload)  # three that stay out, then go
        elif held:
            held.clear()
            names.clear()
        del payload
        names.add(ticket)
    assert len(names) <= 2
    sender.close()
    receiver.close()


NIXL = """
import asyncio
from tests.runtime.test_wire_transport import SECRET, node_transport, test_frames_arrive_whole_and_in_order
asyncio.run(test_frames_arrive_whole_and_in_order(node_transport("nixl", SECRET)))
"""


@pytest.mark.skipif(importlib.util.find_spec("nixl") is None, reason="an extra")
@pytest.mark.parametrize("ucx", ["shm,tcp,self", "tcp,self"])
def test_nixl_over_what_ucx_has_here(ucx: str) -> None:
    """UCX reads its choice once a process; its shared memory finds peers by TCP."""
    subprocess.run([sys.executable, "-c", NIXL], env={**os.environ, "UCX_TLS": ucx}, check=True, timeout=60)
