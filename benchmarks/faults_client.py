"""The asking side of benchmarks/faults.py: streams over bare sockets, told piece by piece and when each came."""

import asyncio
import json
import time
from dataclasses import dataclass, field
from typing import Any

STREAM_LIMIT_S = 60.0

Body = dict[str, object]


@dataclass(slots=True)
class Stream:
    """One streamed reply. `ended`: its last event came and named no error."""

    text: str = ""
    at_s: list[float] = field(default_factory=list[float])
    ended: bool = False
    error: str = ""

    @property
    def longest_gap_s(self) -> float:
        """Between two pieces, and from the last one to the end."""
        return max((later - sooner for sooner, later in zip(self.at_s, self.at_s[1:], strict=False)), default=0.0)


async def streamed(port: int, body: Body, stream: Stream) -> Stream:
    """Fills `stream` as it comes; whatever goes wrong is told in it."""
    try:
        async with asyncio.timeout(STREAM_LIMIT_S):
            await _streamed(port, body, stream)
    except (OSError, ValueError, asyncio.IncompleteReadError, TimeoutError) as error:
        stream.error = f"{type(error).__name__}: {error}"
    return stream


async def whole(port: int, body: Body) -> str:
    """The text of a reply that is not streamed; what went wrong begins with "!"."""
    try:
        async with asyncio.timeout(STREAM_LIMIT_S):
            status, payload = await _posted(port, body)
            if status != 200:
                return f"!{status} {payload[:200]!r}"
            return str(json.loads(payload)["choices"][0]["message"]["content"])
    except (OSError, ValueError, asyncio.IncompleteReadError, TimeoutError) as error:
        return f"!{type(error).__name__}: {error}"


async def fetched(port: int, path: str) -> str:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(f"GET {path} HTTP/1.1\r\nhost: x\r\n\r\n".encode())
        _, payload = await _whole_answer(reader)
        return payload.decode()
    finally:
        writer.close()


async def _streamed(port: int, body: Body, stream: Stream) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(_request({**body, "stream": True}))
        status, head = await _head(reader)
        if status != 200:
            raise ValueError(f"status {status}: {(await reader.read(300))!r}")
        assert b"transfer-encoding: chunked" in head
        rest = b""
        while size := int((await reader.readuntil(b"\r\n")).strip(), 16):
            data = (await reader.readexactly(size + 2))[:-2]
            *events, rest = (rest + data).split(b"\n\n")
            for event in events:
                _take(event, stream)
    finally:
        writer.close()


def _take(event: bytes, stream: Stream) -> None:
    data = b"\n".join(line[5:].strip() for line in event.splitlines() if line.startswith(b"data:"))
    if data == b"[DONE]":
        stream.at_s.append(time.monotonic())
        stream.ended = not stream.error
        return
    told: dict[str, Any] = json.loads(data) if data else {}
    if "error" in told:
        stream.error = str(told["error"])
    for choice in told.get("choices", ()):
        if piece := choice["delta"].get("content"):
            stream.text += piece
            stream.at_s.append(time.monotonic())


async def _posted(port: int, body: Body) -> tuple[int, bytes]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(_request(body))
        return await _whole_answer(reader)
    finally:
        writer.close()


def _request(body: Body) -> bytes:
    payload = json.dumps(body).encode()
    head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: {len(payload)}\r\n"
    return head.encode() + b"content-type: application/json\r\n\r\n" + payload


async def _whole_answer(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    status, head = await _head(reader)
    if b"transfer-encoding: chunked" not in head:
        length = int(head.partition(b"content-length:")[2].partition(b"\r\n")[0])
        return status, await reader.readexactly(length)
    payload = b""
    while size := int((await reader.readuntil(b"\r\n")).strip(), 16):
        payload += (await reader.readexactly(size + 2))[:-2]
    return status, payload


async def _head(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    return int(head.split(b" ", 2)[1]), head
