"""The door on real sockets, with clients that do what HTTP allows, and what it does not; on both event loops."""

import asyncio
import contextlib
import itertools
import socket
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from weft.serve.api.errors import ApiError, invalid
from weft.serve.api.http import Limits, Reply, Request, Sink, Stream, Whole, events
from weft.serve.door import Door
from weft.serve.incoming import Incoming, Parsed

LIMITS = Limits(head_bytes=4096, body_bytes=10_000, behind_bytes=100_000, head_s=0.3, body_s=0.4, idle_s=0.6)
GET = b"GET /hello HTTP/1.1\r\nhost: x\r\n\r\n"


class Echo:
    """Says what it was asked; `cancelled` counts clients that were gone before the end."""

    def __init__(self) -> None:
        self.limits = LIMITS
        self.cancelled = 0
        self.asked: list[str] = []

    async def answer(self, request: Request) -> Reply:
        self.asked.append(request.path)
        match request.path:
            case "/events":
                return events(self._numbers())
            case "/wait":
                return await self._waiting()
            case "/flood":
                return Stream(self._flood)
            case "/late-error":
                return Stream(self._failing)
            case "/early-error":
                return Stream(self._refused)
            case _:
                return Whole(
                    200, request.method.encode() + b" " + request.path.encode() + b" " + request.body, "text/plain"
                )

    async def _numbers(self) -> AsyncIterator[int]:
        for number in range(3):
            yield number

    async def _waiting(self) -> Reply:
        try:
            await asyncio.sleep(60)
        finally:
            self.cancelled += 1
        return Whole(200, b"")

    async def _flood(self, sink: Sink) -> None:
        try:
            while True:
                sink.write(bytes(50_000))
                await asyncio.sleep(0)
        finally:
            self.cancelled += 1

    async def _failing(self, sink: Sink) -> None:
        sink.write(b"data: 1\n\n")
        raise invalid("too late")

    async def _refused(self, sink: Sink) -> None:
        raise ApiError(429, "full", code="overloaded")


Open = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@pytest.fixture
async def echo() -> Echo:
    return Echo()


@contextlib.asynccontextmanager
async def opened(echo: Echo, limits: Limits = LIMITS) -> AsyncGenerator[Open]:
    door = Door(echo, limits, look_s=0.05)
    server = await asyncio.get_running_loop().create_server(door.protocol, "127.0.0.1", 0)
    reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
    try:
        yield reader, writer
    finally:
        writer.close()
        server.close()
        door.abort()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


async def read_answer(reader: asyncio.StreamReader) -> tuple[int, dict[bytes, bytes], bytes]:
    head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 5)
    first, *lines = head[:-4].split(b"\r\n")
    headers = dict[bytes, bytes]((name, value) for name, _, value in (line.partition(b": ") for line in lines))
    if headers.get(b"transfer-encoding") != b"chunked":
        body = await reader.readexactly(int(headers.get(b"content-length", b"0")))
        return int(first.split()[1]), headers, body
    body = b""
    while size := int(await reader.readline(), 16):
        body += (await reader.readexactly(size + 2))[:-2]
    await reader.readline()
    return int(first.split()[1]), headers, body


async def test_requests_sent_ahead_are_answered_in_order(echo: Echo) -> None:
    async with opened(echo) as (reader, writer):
        post = b"POST /%d HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n\r\nhi"
        writer.write(b"".join(post % number for number in range(40)))
        for number in range(40):
            assert (await read_answer(reader))[2] == b"POST /%d hi" % number
        writer.write(b"GET /events HTTP/1.1\r\nhost: x\r\n\r\n" + GET)  # the connection stays, also after a stream
        assert (await read_answer(reader))[2] == b"data: 0\n\ndata: 1\n\ndata: 2\n\ndata: [DONE]\n\n"
        assert (await read_answer(reader))[2] == b"GET /hello "


async def test_a_request_may_come_byte_by_byte_and_in_chunks(echo: Echo) -> None:
    async with opened(echo) as (reader, writer):
        for (
            byte
        ) in b"POST /%61 HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n1\r\nc\r\n0\r\n\r\n":
            writer.write(bytes([byte]))
            await writer.drain()
        assert (await read_answer(reader))[2] == b"POST /a abc"


async def test_it_says_go_on(echo: Echo) -> None:
    async with opened(echo) as (reader, writer):
        writer.write(b"POST /x HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\ncontent-length: 2\r\n\r\n")
        assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        writer.write(b"ok")
        assert (await read_answer(reader))[2] == b"POST /x ok"


HEAD = b"POST / HTTP/1.1\r\nhost: x\r\n"


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"nonsense\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\n\r\n", 400),
        (HEAD + b"content-length: 2\r\ntransfer-encoding: chunked\r\n\r\n", 400),
        (HEAD + b"content-length: 2\r\ncontent-length: 3\r\n\r\n", 400),
        (HEAD + b"content-length: -1\r\n\r\n", 400),
        (HEAD + b"x: a\r\n b\r\n\r\n", 400),
        (HEAD + b"transfer-encoding: chunked\r\n\r\nzz\r\n", 400),
        (HEAD + b"content-encoding: gzip\r\n\r\n", 415),
        (HEAD + b"expect: a-miracle\r\n\r\n", 417),
        (HEAD + b"content-length: 10001\r\n\r\n", 413),
        (HEAD + b"transfer-encoding: chunked\r\n\r\n2711\r\n" + bytes(10_001), 413),
        (HEAD + b"transfer-encoding: chunked\r\n\r\n1;" + b"x" * 9000 + b"\r\nx\r\n", 400),
        (HEAD + b"x: " + b"x" * 5000 + b"\r\n", 431),
        (b"GET /" + b"x" * 5000 + b" HTTP/1.1\r\nhost: x\r\n", 431),
        (HEAD + b"content-length: 5\r\n\r\nabc", 408),
        (HEAD + b"x-slow: 1\r\n", 408),
    ],
)
async def test_one_refusal_and_the_end(echo: Echo, sent: bytes, status: int) -> None:
    async with opened(echo) as (reader, writer):
        writer.write(GET)
        assert (await read_answer(reader))[0] == 200
        for piece in (sent[:5000], sent[5000:]):
            writer.write(piece)
            await asyncio.sleep(0.01)
        code, headers, body = await read_answer(reader)
        assert (code, headers[b"connection"]) == (status, b"close")
        assert body.startswith(b'{"error":{"message":')
        assert await asyncio.wait_for(reader.read(), 5) == b""
    assert echo.asked == ["/hello"]


async def test_nothing_is_waited_for_without_end(echo: Echo) -> None:
    async with opened(echo) as (reader, writer):
        writer.write(GET)
        await read_answer(reader)
        assert await asyncio.wait_for(reader.read(), 5) == b""  # it asked nothing more
    async with opened(echo) as (reader, writer):
        answer = asyncio.create_task(reader.read())
        for byte in HEAD * 20:  # each byte comes soon after the one before, and the head never ends
            if answer.done():
                break
            writer.write(bytes([byte]))
            await asyncio.sleep(0.02)
        assert b" 408 " in await answer


async def test_a_client_of_1_0_gets_no_chunks(echo: Echo) -> None:
    for path, body in ((b"/events", b"data: 0\n\ndata: 1\n\ndata: 2\n\ndata: [DONE]\n\n"), (b"/a", b"GET /a ")):
        async with opened(echo) as (reader, writer):
            writer.write(b"GET %b HTTP/1.0\r\n\r\n" % path)
            head, _, rest = (await asyncio.wait_for(reader.read(), 5)).partition(b"\r\n\r\n")
            assert b"connection: close" in head and b"chunked" not in head
            assert rest == body


async def test_a_head_has_no_body_that_the_next_answer_could_be_taken_for(echo: Echo) -> None:
    async with opened(echo) as (reader, writer):
        for path in (b"/hello", b"/events"):
            writer.write(GET.replace(b"GET", b"HEAD").replace(b"/hello", path))
            head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 5)
            assert head.startswith(b"HTTP/1.1 200 OK")
        writer.write(GET)
        assert (await read_answer(reader))[2] == b"GET /hello "


async def test_paths_are_told_apart_as_they_were_sent(echo: Echo) -> None:
    async with opened(echo) as (reader, writer):
        for path in (b"http://x/hello?a=b", b"/a%2Fb%25/%63", b"/%C3%A9"):
            writer.write(b"GET " + path + b" HTTP/1.1\r\nhost: x\r\n\r\n")
            await read_answer(reader)
    assert echo.asked == ["/hello", "/a%2Fb%25/c", "/é"]


async def test_errors_of_streams(echo: Echo) -> None:
    async with opened(echo) as (reader, writer):
        writer.write(GET.replace(b"hello", b"early-error") + GET.replace(b"hello", b"late-error"))
        status, headers, body = await read_answer(reader)
        assert (status, headers[b"retry-after"]) == (429, b"1")
        status, _, body = await read_answer(reader)
        assert (status, body.count(b"data: ")) == (200, 3)
        assert b'"too late"' in body and body.endswith(b"data: [DONE]\n\n")


@pytest.mark.parametrize("path", [b"wait", b"flood"])
async def test_who_hangs_up_or_reads_nothing_is_let_go(echo: Echo, path: bytes) -> None:
    async with opened(echo) as (_, writer):
        writer.write(GET.replace(b"hello", path))
        async with asyncio.timeout(5):
            while not echo.asked:
                await asyncio.sleep(0.01)
            if path == b"wait":
                writer.close()
            while echo.cancelled == 0:  # the flood is more than may wait for a client
                await asyncio.sleep(0.01)


async def test_small_writes_leave_at_once_and_connections_are_counted(echo: Echo) -> None:
    limits = Limits(connections=1)
    door = Door(echo, limits)
    server = await asyncio.get_running_loop().create_server(door.protocol, "127.0.0.1", 0)
    address: Any = server.sockets[0].getsockname()
    first = await asyncio.open_connection(*address)
    first[1].write(GET)
    await read_answer(first[0])
    (connection,) = door.connections
    assert connection.bare_socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
    second = await asyncio.open_connection(*address)
    assert (await read_answer(second[0]))[0] == 503
    for _, writer in (first, second):
        writer.close()
    server.close()
    door.abort()
    await asyncio.sleep(0.05)


def parsed(pieces: list[bytes]) -> list[tuple[str, bytes]]:
    found: list[Parsed] = []
    incoming = Incoming(LIMITS, found.append, lambda _: None)
    for piece in pieces:
        incoming.feed(piece)
    return [(each.request.path, each.request.body) for each in found]


@given(st.lists(st.binary(max_size=20), min_size=1, max_size=4), st.lists(st.integers(0, 400), max_size=6))
def test_where_bytes_are_cut_does_not_matter(bodies: list[bytes], cuts: list[int]) -> None:
    request = b"POST /%d HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n%b"
    whole = b"".join(request % (at, len(body), body) for at, body in enumerate(bodies))
    ends = sorted({min(cut, len(whole)) for cut in cuts} | {0, len(whole)})
    pieces = [whole[start:end] for start, end in itertools.pairwise(ends)]
    assert parsed(pieces) == [(f"/{at}", body) for at, body in enumerate(bodies)]


@given(st.binary(max_size=200), st.integers(0, 60))
def test_noise_is_refused_or_waited_for(noise: bytes, at: int) -> None:
    with contextlib.suppress(ApiError):
        parsed([GET[:at] + noise + GET[at:]])
