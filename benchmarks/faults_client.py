"""The asking side of benchmarks/faults.py: replies over bare sockets, told piece by piece, and when each piece came.

A stream is asked for as a careful client does it: with an Idempotency-Key, and again with the id of the last event
(Last-Event-ID) when its connection is lost. A server that gives its events no ids has no such streams.
"""

import asyncio
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

LIMIT_S, AGAIN_S = 10.0, 0.02

Body = dict[str, Any]
LOST = (OSError, asyncio.IncompleteReadError)

KINDS = ("chat", "choices", "json", "tools", "run")
"""Of streams: a chat, one with two choices, a JSON schema, a call of a tool that must come, a durable run, followed."""
OF_GRAPHS = ("graph chat", "graph run")
"""Of a program that says itself how its replies are drawn (faults_servers.py)."""
ASKED = ("how much memory does the h two hundred have", "what is a gaudi three", "what does an a forty cost")
TEXT = {"type": "string", "maxLength": 60}
ANSWER = {"type": "object", "properties": {"device": TEXT}, "required": ["device"]}
TOOL = {
    "type": "function",
    "function": {
        "name": "search",
        "parameters": {"type": "object", "properties": {"query": TEXT}, "required": ["query"]},
    },
}


@dataclass(frozen=True, slots=True)
class Asked:
    """A request, drawn with a temperature and a seed of its own. `key`: the same for each time that it is sent."""

    kind: str
    body: Body
    key: str

    @property
    def durable(self) -> bool:
        return self.kind.endswith("run")

    @property
    def path(self) -> str:
        return "/v1/runs" if self.durable else "/v1/chat/completions"


def asked(model: str, number: int, kinds: Sequence[str], key: str, tokens: int) -> Asked:
    kind = kinds[number % len(kinds)]
    if kind in OF_GRAPHS:
        said = f"{ASKED[number % len(ASKED)]}{'?' * number}"  # its length is the seed
        return Asked(kind, {"model": model, "messages": [{"role": "user", "content": said}]}, key)
    conversation = [{"role": "user", "content": ASKED[number % len(ASKED)]}]
    more: Mapping[str, Body] = {
        "choices": {"n": 2},
        "json": {"response_format": {"type": "json_schema", "json_schema": {"name": "reply", "schema": ANSWER}}},
        "tools": {"tools": [TOOL], "tool_choice": "required"},
    }
    drawn = {"temperature": 0.8, "seed": number, "max_tokens": tokens}
    return Asked(kind, {"model": model, "messages": conversation, **drawn, **more.get(kind, {})}, key)


@dataclass(slots=True)
class Stream:
    """One streamed reply: `parts` by what they are of (a choice, a tool call, a step of a run). `ended`: its last event
    came and named no error."""

    parts: dict[str, str] = field(default_factory=dict[str, str])
    at_s: list[float] = field(default_factory=list[float])
    ended: bool = False
    error: str = ""
    lost: int = 0
    last_id: str = ""

    @property
    def said(self) -> str:
        return json.dumps(self.parts, sort_keys=True)

    @property
    def longest_gap_s(self) -> float:
        """Between two pieces, and from the last one to the end."""
        return max((later - sooner for sooner, later in zip(self.at_s, self.at_s[1:], strict=False)), default=0.0)

    def add(self, part: str, text: str) -> None:
        self.parts[part] = self.parts.get(part, "") + text
        self.at_s.append(time.monotonic())

    def put(self, part: str, offset: int, text: str) -> None:
        """What stands at an offset: a run that goes on after a crash says again what it had said."""
        before = self.parts.get(part, "")
        if len(before) < offset + len(text):
            self.add(part, text[len(before) - offset :])


async def streamed(port: int, what: Asked, stream: Stream) -> Stream:
    """Fills `stream` as it comes; whatever goes wrong is told in it."""
    try:
        async with asyncio.timeout(LIMIT_S):
            follow = _followed if what.durable else _chatted
            while not stream.ended and not stream.error:
                try:
                    await follow(port, what, stream)
                except LOST as error:
                    if stream.at_s and not stream.last_id:
                        raise
                    stream.lost += 1
                    await asyncio.sleep(AGAIN_S)
                    if stream.lost > LIMIT_S / AGAIN_S:
                        raise TimeoutError(f"lost {stream.lost} times") from error
    except (*LOST, ValueError, TimeoutError) as error:
        stream.error = f"{type(error).__name__}: {error}"
    return stream


async def whole(port: int, what: Asked) -> str:
    """The text of a reply that is not streamed; what went wrong begins with "!"."""
    try:
        async with asyncio.timeout(LIMIT_S):
            status, payload = await _posted(port, what)
            if status != 200:
                return f"!{status} {payload[:200]!r}"
            message = json.loads(payload)["choices"][0]["message"]
            return str(message.get("content") or message.get("tool_calls"))
    except (*LOST, ValueError, TimeoutError) as error:
        return f"!{type(error).__name__}: {error}"


async def fetched(port: int, path: str) -> str:
    async with _Opened(port) as (reader, writer):
        writer.write(_request("GET", path, {}))
        _, payload = await _whole_answer(reader)
        return payload.decode()


async def _chatted(port: int, what: Asked, stream: Stream) -> None:
    headers = {"idempotency-key": what.key} | ({"last-event-id": stream.last_id} if stream.last_id else {})
    await _events(port, _request("POST", what.path, headers, {**what.body, "stream": True}), stream, _take_chunk)


async def _followed(port: int, what: Asked, stream: Stream) -> None:
    status, payload = await _posted(port, what)
    if status != 202:
        raise ValueError(f"status {status}: {payload[:300]!r}")
    headers = {"last-event-id": stream.last_id} if stream.last_id else {}
    path = f"/v1/runs/{json.loads(payload)['id']}/events"
    await _events(port, _request("GET", path, headers), stream, _take_event)


class _Opened:
    def __init__(self, port: int) -> None:
        self._port = port

    async def __aenter__(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, self._writer = await asyncio.open_connection("127.0.0.1", self._port)
        return reader, self._writer

    async def __aexit__(self, *_: object) -> None:
        self._writer.close()


async def _events(port: int, request: bytes, stream: Stream, take: "Any") -> None:
    async with _Opened(port) as (reader, writer):
        writer.write(request)
        status, head = await _head(reader)
        if status != 200:
            raise ValueError(f"status {status}: {(await reader.read(300))!r}")
        assert b"transfer-encoding: chunked" in head
        rest = b""
        while size := int((await reader.readuntil(b"\r\n")).strip(), 16):
            data = (await reader.readexactly(size + 2))[:-2]
            *events, rest = (rest + data).split(b"\n\n")
            for event in events:
                lines = (line.partition(b":") for line in event.splitlines() if not line.startswith(b":"))
                fields = {name: value for name, _, value in lines}
                take(fields.get(b"data", b"").strip(), stream)
                stream.last_id = fields.get(b"id", stream.last_id.encode()).strip().decode()
    if not stream.ended and not stream.error:
        raise asyncio.IncompleteReadError(b"", None)


def _take_chunk(data: bytes, stream: Stream) -> None:
    if data == b"[DONE]":
        stream.at_s.append(time.monotonic())
        stream.ended = not stream.error
        return
    told: Body = json.loads(data) if data else {}
    if "error" in told:
        stream.error = str(told["error"])
    for choice in told.get("choices", ()):
        if piece := choice["delta"].get("content"):
            stream.add(f"choice {choice['index']}", piece)
        for call in cast("list[Body]", choice["delta"].get("tool_calls", ())):
            stream.add(f"call {choice['index']}.{call['index']}", json.dumps(call["function"], sort_keys=True))


def _take_event(data: bytes, stream: Stream) -> None:
    told: Body = json.loads(data) if data else {}
    if "offset" in told:
        stream.put(f"{told['step']} {told['visit']}", told["offset"], told["text"])
    elif told.get("type") == "run.completed":
        stream.at_s.append(time.monotonic())
        _end_of_run(str(told["values"][0]), stream)
    elif told.get("type") in ("run.failed", "run.unsure", "run.cancelled"):
        stream.error = str(told)


def _end_of_run(answer: str, stream: Stream) -> None:
    """A step that had ended before somebody came back says nothing again, so its text may be missing; the rest stands
    in the answer as it was said."""
    said, stream.ended = "".join(stream.parts.values()), True
    stream.parts = {"answer": answer} | ({} if said in answer else {"but said": said})


async def _posted(port: int, what: Asked) -> tuple[int, bytes]:
    async with _Opened(port) as (reader, writer):
        writer.write(_request("POST", what.path, {"idempotency-key": what.key}, what.body))
        return await _whole_answer(reader)


def _request(method: str, path: str, headers: Mapping[str, str], body: Body | None = None) -> bytes:
    payload = b"" if body is None else json.dumps(body).encode()
    lines = {"host": "x", "content-length": str(len(payload)), "content-type": "application/json", **headers}
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    return f"{method} {path} HTTP/1.1\r\n{head}\r\n".encode() + payload


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
