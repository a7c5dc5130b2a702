"""A small server of the OpenAI API that answers as a test tells it, byte by byte."""

import asyncio
import json
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

Answer = Callable[[asyncio.StreamWriter], Awaitable[None]]


@dataclass
class Asked:
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class OpenAiServer:
    """`answers` are given in turn, the last again and again."""

    answers: list[Answer]
    asked: list[Asked] = field(default_factory=list[Asked])
    url: str = ""
    lost: int = 0  # clients that hung up while they were being answered

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            lines = head.split("\r\n")
            headers = {key.lower(): value for key, _, value in (line.partition(": ") for line in lines[1:] if line)}
            body = await reader.readexactly(int(headers.get("content-length", 0)))
            self.asked.append(Asked(lines[0].split()[1], headers, body))
            await self.answers[min(len(self.asked), len(self.answers)) - 1](writer)
            await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            self.lost += 1
        finally:
            writer.close()


@asynccontextmanager
async def running(*answers: Answer) -> AsyncGenerator[OpenAiServer, None]:
    told = OpenAiServer(list(answers))
    server = await asyncio.start_server(told.serve, "127.0.0.1", 0)
    told.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
    try:
        yield told
    finally:
        server.close()


def status(code: int, text: str = "", **headers: str) -> Answer:
    async def answer(writer: asyncio.StreamWriter) -> None:
        more = "".join(f"{key.replace('_', '-')}: {value}\r\n" for key, value in headers.items())
        writer.write(f"HTTP/1.1 {code} X\r\n{more}Content-Length: {len(text.encode())}\r\n\r\n{text}".encode())

    return answer


def whole(data: bytes) -> Answer:
    async def answer(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(data) + data)

    return answer


def stream(*pieces: bytes, gap_s: float = 0.0, break_off: bool = False) -> Answer:
    """Server-sent events, chunked; `break_off` closes without the last chunk."""

    async def answer(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
        for piece in pieces:
            writer.write(b"%x\r\n" % len(piece) + piece + b"\r\n")
            await writer.drain()
            await asyncio.sleep(gap_s)
        if not break_off:
            writer.write(b"0\r\n\r\n")

    return answer


def hang_up() -> Answer:
    async def answer(writer: asyncio.StreamWriter) -> None:
        writer.transport.abort()

    return answer


def reply(*words: str, usage: tuple[int, int] = (5, 3), finish: bool = True) -> list[bytes]:
    """The events of a chat reply."""
    events: list[Any] = [{"choices": [{"delta": {"role": "assistant"}}]}]
    events += [{"choices": [{"delta": {"content": word}}]} for word in words]
    if finish:
        events.append({"choices": [{"delta": {}, "finish_reason": "stop"}]})
        events.append({"choices": [], "usage": {"prompt_tokens": usage[0], "completion_tokens": usage[1]}})
    return [b"data: " + json.dumps(event).encode() + b"\n\n" for event in events] + [b"data: [DONE]\n\n"]
