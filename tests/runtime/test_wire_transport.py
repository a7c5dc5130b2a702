"""All transports do the same; those with sockets also refuse strangers and nonsense."""

import asyncio
import contextlib
import importlib.util
import itertools
import secrets
import socket
import struct
from collections.abc import AsyncGenerator, Callable

import pytest
import uvloop
from hypothesis import given
from hypothesis import strategies as st

from weft.core.errors import WireError
from weft.core.message import Message
from weft.core.program import StepKind
from weft.runtime import messages
from weft.runtime.transport import framing
from weft.runtime.transport.base import Connection, Frame, Transport
from weft.runtime.transport.buffers import BufferPool
from weft.runtime.transport.choose import node_transport, way_between
from weft.runtime.transport.connection import FramedConnection
from weft.runtime.transport.frame_reader import Arrived, FrameReader
from weft.runtime.transport.inbox import FRAMES_AHEAD
from weft.runtime.transport.lanes import Lanes
from weft.runtime.transport.listener import GREETING
from weft.runtime.transport.memory import MemoryTransport
from weft.runtime.transport.shm import ShmTransport
from weft.runtime.transport.tcp import TcpTransport
from weft.runtime.values import KvHandle, Value, as_value, pack, unpack

SECRET = secrets.token_bytes(32)


TRANSPORTS: dict[str, Callable[[], Transport]] = {
    "memory": MemoryTransport,
    "tcp": lambda: TcpTransport(SECRET),
    "lanes": lambda: TcpTransport(SECRET, lanes=3),
    "lanes with MACs": lambda: TcpTransport(SECRET, lanes=3, macs=True),
    "shm": lambda: ShmTransport(SECRET),
    "auto": lambda: node_transport("auto", SECRET),
}
if importlib.util.find_spec("nixl") is not None:  # an extra
    TRANSPORTS["nixl"] = lambda: node_transport("nixl", SECRET)


@pytest.fixture(params=TRANSPORTS)
def transport(request: pytest.FixtureRequest) -> Transport:
    return TRANSPORTS[request.param]()


@contextlib.asynccontextmanager
async def connected(transport: Transport) -> AsyncGenerator[tuple[Connection, Connection], None]:
    """Both ends of one connection."""
    accepted: asyncio.Queue[Connection] = asyncio.Queue()
    ended = asyncio.Event()

    async def on_connection(connection: Connection) -> None:
        accepted.put_nowait(connection)
        await ended.wait()

    listener = await transport.listen(on_connection)
    client = await transport.connect(listener.address)
    try:
        yield client, await accepted.get()
    finally:
        ended.set()
        await client.close()
        await listener.close()


async def test_frames_arrive_whole_and_in_order(transport: Transport) -> None:
    async with connected(transport) as (client, server):
        parts = (secrets.token_bytes(3_000_000), b"", secrets.token_bytes(1_400_005))
        sending = asyncio.gather(*(client.send(Frame(messages.Chunk(id), parts)) for id in range(5)))
        for id in range(5):
            frame = await server.receive()
            assert frame.message == messages.Chunk(id)
            assert frame.data == b"".join(parts)
        await sending
        await server.send(Frame(messages.Tokens((messages.Token(9, 4, "ä"),))))
        answer = await client.receive()
        assert answer.message == messages.Tokens((messages.Token(9, 4, "ä"),))
        assert len(answer.data) == 0


class Meddler(Lanes):
    """Somebody on the line who changes one bit of a payload, and whatever checksum is in it."""

    async def collect(self, ticket: memoryview, size: int) -> memoryview:
        payload = await super().collect(ticket, size)
        payload[size // 2] ^= 1
        return payload


async def test_a_payload_that_was_forged_on_the_line_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("weft.runtime.transport.tcp.Lanes", Meddler)
    frame = Frame(messages.KvLayer(1), (bytes(1_000_000),))
    async with connected(TcpTransport(SECRET, lanes=2)) as (client, server):
        await client.send(frame)
        assert any((await server.receive()).data), "without MACs a transport cannot see it"
    async with connected(TcpTransport(SECRET, lanes=2, macs=True)) as (client, server):
        await client.send(frame)
        with pytest.raises(WireError, match="is not what this peer sent"):
            await server.receive()


async def test_both_sides_must_want_macs() -> None:
    refused = asyncio.get_running_loop().create_future()

    async def on_connection(connection: Connection) -> None:
        with contextlib.suppress(ConnectionError):
            try:
                await connection.receive()
            except WireError as error:
                refused.set_result(error)

    listener = await TcpTransport(SECRET).listen(on_connection)
    client = await TcpTransport(SECRET, lanes=2, macs=True).connect(listener.address)
    with contextlib.suppress(ConnectionError):
        await client.send(Frame(messages.KvLayer(1), (bytes(1_000_000),)))
    assert "not for lanes" in str(await asyncio.wait_for(refused, 5))
    await client.close()
    await listener.close()


@pytest.mark.parametrize(
    ("links", "rdma", "way"),
    [
        ((), True, "auto"),
        (("roce-400g", "infiniband-ndr"), True, "nixl"),
        (("roce-400g",), False, "auto"),
        (("roce-400g", "ethernet-25g"), True, "auto"),
    ],
)
def test_the_plans_links_choose_the_way(links: tuple[str, ...], rdma: bool, way: str) -> None:
    assert way_between(links, rdma=rdma) == way


async def test_a_reader_that_is_behind_holds_the_sender(transport: Transport) -> None:
    async with connected(transport) as (client, server):
        sent = 0

        async def flood() -> None:
            nonlocal sent
            for id in range(100):
                await client.send(Frame(messages.Chunk(id), (bytes(1_000_000),)))
                sent += 1

        flooding = asyncio.create_task(flood())
        await asyncio.sleep(0.2)
        assert sent <= FRAMES_AHEAD + 1
        for _ in range(100):
            await server.receive()
        await flooding


async def test_both_ends_see_the_end(transport: Transport) -> None:
    async with connected(transport) as (client, server):
        await server.close()
        with pytest.raises(ConnectionError):
            await client.receive()
        with pytest.raises(ConnectionError):
            while True:
                await client.send(Frame(messages.Ping(1)))


async def test_frames_may_be_given_to_a_function(transport: Transport) -> None:
    async with connected(transport) as (client, server):
        await server.send(Frame(messages.Ping(0)))  # before somebody asks for them
        seen: list[object] = []
        ended = asyncio.Event()

        def on_end(why: Exception) -> None:
            seen.append(type(why))
            ended.set()

        await asyncio.sleep(0.01)
        client.deliver_to(lambda frame: seen.append((frame.message, len(frame.data))), on_end)
        server.write(Frame(messages.Ping(1)))
        await server.send(Frame(messages.Chunk(2), (bytes(700_000),)))
        server.write(Frame(messages.Ping(3)))
        async with asyncio.timeout(5):
            while len(seen) < 4:
                await asyncio.sleep(0.01)
            await server.close()
            await ended.wait()
        sizes = [(messages.Ping(0), 0), (messages.Ping(1), 0), (messages.Chunk(2), 700_000), (messages.Ping(3), 0)]
        assert seen == [*sizes, ConnectionResetError]


@pytest.mark.parametrize("name", ["tcp", "lanes", "shm", "auto"])
def test_uvloop_moves_them_too(name: str) -> None:
    uvloop.run(test_frames_arrive_whole_and_in_order(TRANSPORTS[name]()))
    uvloop.run(test_frames_may_be_given_to_a_function(TRANSPORTS[name]()))


@given(st.lists(st.integers(0, 200_000), min_size=1, max_size=6), st.lists(st.integers(1, 70_000), min_size=1))
def test_where_a_stream_is_cut_does_not_matter(payloads: list[int], cuts: list[int]) -> None:
    sealer = framing.Sealer(SECRET)
    frames = [Frame(messages.Chunk(at), (bytes([at]) * size,)) for at, size in enumerate(payloads)]
    stream = b"".join(part for frame in frames for part in framing.encode(frame, sealer))
    reader, found, sizes = FrameReader(BufferPool(), framing.Sealer(SECRET)), list[Arrived](), itertools.cycle(cuts)
    while stream:
        room = reader.buffer()
        count = min(len(room), next(sizes), len(stream))
        room[:count], stream = stream[:count], stream[count:]
        reader.took(count)
        while (arrived := reader.next()) is not None:
            found.append(arrived)
    assert [each.message for each in found] == [frame.message for frame in frames]
    assert [each.payload for each in found] == [frame.data for frame in frames]


async def test_nobody_listens() -> None:
    for transport, address in ((MemoryTransport(), "memory:7"), (TcpTransport(SECRET), "127.0.0.1:1")):
        with pytest.raises(ConnectionError):
            await transport.connect(address)


async def test_small_frames_leave_at_once() -> None:
    async with connected(TcpTransport(SECRET)) as ends:
        for end in ends:
            assert isinstance(end, FramedConnection)
            assert end.bare_socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_a_weak_secret_is_refused() -> None:
    with pytest.raises(WireError, match="at least 32"):
        TcpTransport(b"secret")


async def test_strangers_are_refused_and_reach_no_handler() -> None:
    reached = 0

    async def on_connection(connection: Connection) -> None:
        nonlocal reached
        reached += 1

    listener = await TcpTransport(SECRET).listen(on_connection)
    assert listener.address.startswith("127.0.0.1:")
    with pytest.raises((WireError, ConnectionError)):
        await TcpTransport(secrets.token_bytes(32)).connect(listener.address)
    host, port = listener.address.split(":")
    for noise in (b"GET / HTTP/1.1\r\n\r\n" * 10, secrets.token_bytes(4096)):
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(noise)
        with contextlib.suppress(ConnectionError):
            assert not await asyncio.wait_for(reader.read(), 2)  # not even a challenge
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()
    await (await TcpTransport(SECRET).connect(listener.address)).close()
    await listener.close()
    assert reached == 1


async def test_a_peer_that_mirrors_our_proof_is_refused() -> None:
    async def mirror(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            await reader.readexactly(GREETING.size)
            for _ in range(2):
                writer.write(await reader.readexactly(32))
        writer.close()

    server = await asyncio.start_server(mirror, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    with pytest.raises(WireError, match="does not know"):
        await TcpTransport(SECRET).connect(f"127.0.0.1:{port}")
    server.close()


@pytest.mark.parametrize(
    "data",
    [
        struct.pack("<IIQ", 0, 0, 0) + bytes(16),
        struct.pack("<IIQ", 2**32 - 1, 0, 0) + bytes(16),
        struct.pack("<IIQ", 10, 0, 2**40) + bytes(16),
        struct.pack("<IIQ", 10, 2**20, 0) + bytes(16),
        struct.pack("<IIQ", 3, 0, 0) + bytes(16) + b"\xc1\xff\x00",
    ],
)
async def test_malformed_frames_are_wire_errors(data: bytes) -> None:
    async with connected(TcpTransport(SECRET)) as (client, server):
        assert isinstance(client, FramedConnection)
        client.write_bytes(data)
        with pytest.raises(WireError):
            await server.receive()


@given(st.binary(max_size=300))
def test_a_header_of_noise_is_a_wire_error_or_a_message(noise: bytes) -> None:
    with contextlib.suppress(WireError):
        messages.decode(memoryview(noise))


VALUES = st.lists(
    st.one_of(
        st.text(),
        st.integers(-(2**63), 2**63 - 1),
        st.binary(),
        st.lists(st.builds(Message, st.sampled_from(["user", "tool"]), st.text()), max_size=3).map(tuple),
        st.builds(KvHandle, st.text(), st.integers(0, 9), st.integers(0, 9), st.integers(0, 9)),
    )
)


@given(VALUES)
def test_values_survive_the_wire(values: list[Value]) -> None:
    header, audio = pack(values)
    call = messages.Call(1, "s", StepKind.APPLY, {"isl": 3, "x": 1.5, "f": "g"}, header, 1)
    whole = memoryview(b"".join(framing.encode(Frame(call, audio), framing.Sealer(SECRET))))
    prefix, body = whole[: framing.PREFIX_BYTES], whole[framing.PREFIX_BYTES :]
    header_bytes, ticket_bytes, payload_bytes = framing.read_prefix(prefix)
    assert (len(body), ticket_bytes) == (header_bytes + payload_bytes, 0)
    framing.check(prefix, body, framing.Sealer(SECRET))
    frame = Frame(messages.decode(body[:header_bytes]), (body[header_bytes:],))
    assert isinstance(frame.message, messages.Call)
    assert unpack(frame.message.inputs, frame.data) == tuple(values)
    assert frame.message == call


def test_audio_that_does_not_fill_the_payload_is_refused() -> None:
    header, _ = pack([b"abc"])
    with pytest.raises(WireError, match="take 3 bytes of audio, the frame carries 4"):
        unpack(header, memoryview(b"abcd"))


def test_what_functions_may_return() -> None:
    assert as_value(True, "f") == 1
    assert as_value([Message("user", "x")], "f") == (Message("user", "x"),)
    for wrong in (object(), {1}, ["x", object()], {"a": object()}):
        with pytest.raises(TypeError, match="f returned"):
            as_value(wrong, "f")
