"""Chat requests against a gateway, over connections that stay open; what came back, and when."""

import asyncio
import json
import random
import time
from dataclasses import dataclass, field
from typing import cast

PROMPT = "how much memory does the h two hundred have"


@dataclass(slots=True)
class Seen:
    """`first_s`: until the first piece of content (of a whole answer: until its end). `tokens` counts pieces."""

    first_s: list[float] = field(default_factory=list[float])
    whole_s: list[float] = field(default_factory=list[float])
    tokens: int = 0
    errors: int = 0


def request(model: str, *, stream: bool, number: int) -> bytes:
    """Prompts begin alike and end each in its own way, as those of users do."""
    messages = [{"role": "system", "content": "Answer in one sentence."}, {"role": "user", "content": PROMPT}]
    messages.append({"role": "user", "content": f"question {number}"})
    body = json.dumps({"model": model, "messages": messages, "stream": stream}).encode()
    head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: {len(body)}\r\n"
    return head.encode() + b"content-type: application/json\r\n\r\n" + body


class Client(asyncio.Protocol):
    """One connection; one request at a time."""

    def __init__(self, seen: Seen) -> None:
        self._seen = seen
        self._over: asyncio.Future[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is no subclass of it

    async def ask(self, message: bytes) -> None:
        self._data, self._length, self._tokens, self._done = b"", -1, 0, False
        self._over = asyncio.get_running_loop().create_future()
        self._began_s = time.perf_counter()
        self._transport.write(message)
        await self._over

    def close(self) -> None:
        self._transport.close()

    def data_received(self, data: bytes) -> None:
        if self._length < 0:
            data = self._read_head(data)
        if self._length == 0:
            self._take_stream(data)
        elif self._length > 0:
            self._take_whole(data)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._over is not None and not self._over.done():
            self._seen.errors += 1
            self._over.set_result(None)

    def _read_head(self, data: bytes) -> bytes:
        """What comes after it. A `length` of 0 is a stream's."""
        self._data += data
        head, found, rest = self._data.partition(b"\r\n\r\n")
        if found:
            head = head.lower()
            self._seen.errors += b" 200 ok" not in head
            chunked = b"transfer-encoding: chunked" in head
            self._length = 0 if chunked else int(head.partition(b"content-length:")[2].partition(b"\r\n")[0])
            self._data = b""
        return rest

    def _take_whole(self, data: bytes) -> None:
        self._data += data
        if len(self._data) >= self._length:
            self._tokens = 1
            self._seen.first_s.append(time.perf_counter() - self._began_s)
            self._end()

    def _take_stream(self, data: bytes) -> None:
        data = self._data + data
        tokens = data.count(b'"content":"w')  # of `word`, which both stand-ins say; it may lie in two reads
        if tokens and not self._tokens:
            self._seen.first_s.append(time.perf_counter() - self._began_s)
        self._tokens += tokens
        self._done = self._done or b"[DONE]" in data
        if data.endswith(b"0\r\n\r\n"):
            self._seen.errors += not self._done or b'"error"' in data
            self._end()
        else:
            self._data = data[-11:]

    def _end(self) -> None:
        self._seen.tokens += self._tokens
        self._seen.whole_s.append(time.perf_counter() - self._began_s)
        if self._over is not None and not self._over.done():
            self._over.set_result(None)


async def load(port: int, requests: int, connections: int, *, stream: bool, spread_s: float = 0.0) -> Seen:
    """So many requests over so many connections, which begin at random within `spread_s`."""
    seen, left, loop, draw = Seen(), requests, asyncio.get_running_loop(), random.Random(1)

    async def client() -> None:
        nonlocal left
        await asyncio.sleep(draw.random() * spread_s)
        _, connection = await loop.create_connection(lambda: Client(seen), "127.0.0.1", port)
        while left > 0:
            left -= 1
            await connection.ask(request("chat", stream=stream, number=left))
        connection.close()

    await asyncio.gather(*(client() for _ in range(connections)))
    return seen
