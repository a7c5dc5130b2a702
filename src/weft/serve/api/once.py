"""Idempotency-Key: a request that is sent again gets the answer that the first one got, and is not run again.

Kept in memory: answers of 2xx, so many and so long. What must outlive the server is a run (/v1/runs).
"""

import asyncio
import hashlib
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from weft.serve.api.errors import ApiError
from weft.serve.api.http import Reply, Request, Sink, Stream, Whole, header
from weft.serve.api.numbered import LAST, after

LONGEST = 255
REPLAYED = {"idempotent-replayed": "true"}
Work = Callable[[], Awaitable[Reply]]


@dataclass(slots=True)
class _Kept:
    digest: bytes
    at_s: float
    done: "asyncio.Future[Whole]"
    size_bytes: int = 0


@dataclass(slots=True)
class Once:
    """Of each tenant's keys the newest, up to `most_bytes` of answers in all, for `keep_s`."""

    most_bytes: int = 64 << 20
    keep_s: float = 86_400.0
    _kept: "OrderedDict[tuple[str, str], _Kept]" = field(default_factory=OrderedDict[tuple[str, str], _Kept])
    _bytes: int = 0

    async def answer(self, key: str, request: Request, work: Work) -> Reply:
        """Raises ApiError 409 where the key was used for something else, 400 where it is no key."""
        if len(key) > LONGEST:
            raise ApiError(400, f"Idempotency-Key is longer than {LONGEST}", code="invalid_value")
        name, digest = (request.caller.tenant, key), _digest(request)
        while (kept := self._kept.get(name)) is not None:
            if kept.digest != digest:
                message = f"the Idempotency-Key {key!r} was used before, for something else"
                raise ApiError(409, message, code="idempotency_key_reused")
            if asyncio.get_running_loop().time() - kept.at_s > self.keep_s:
                self._drop(name)
                break
            await asyncio.wait({kept.done})
            if not kept.done.cancelled():
                return _again(kept.done.result(), request)
        return await self._first(name, digest, request, work)

    async def _first(self, name: tuple[str, str], digest: bytes, request: Request, work: Work) -> Reply:
        loop = asyncio.get_running_loop()
        kept = self._kept[name] = _Kept(digest, loop.time(), loop.create_future())
        try:
            reply = await work()
        except BaseException:
            self._drop(name)
            raise
        if isinstance(reply, Stream):
            whole = header(request, LAST) is None
            return Stream(lambda sink: self._record(name, reply, sink, whole), reply.headers, reply.content_type)
        if reply.status >= 300:
            self._drop(name)
        else:
            self._keep(name, kept, reply)
        return reply

    async def _record(self, name: tuple[str, str], stream: Stream, sink: Sink, whole: bool) -> None:
        """An answer that was told from some place on is not kept."""
        recorder = _Recorder(sink) if whole else sink
        try:
            await stream.tell(recorder)
        except BaseException:
            self._drop(name)
            raise
        if not isinstance(recorder, _Recorder):
            self._drop(name)
            return
        if (kept := self._kept.get(name)) is not None:
            self._keep(name, kept, Whole(200, b"".join(recorder.said), stream.content_type, stream.headers))

    def _keep(self, name: tuple[str, str], kept: _Kept, reply: Whole) -> None:
        kept.size_bytes = len(reply.body)
        kept.done.set_result(reply)
        self._bytes += kept.size_bytes
        while self._bytes > self.most_bytes:
            oldest = next((each for each, of in self._kept.items() if of.done.done()), None)
            if oldest is None:
                return
            self._drop(oldest)

    def _drop(self, name: tuple[str, str]) -> None:
        kept = self._kept.pop(name)
        self._bytes -= kept.size_bytes
        kept.done.cancel()


class _Recorder:
    def __init__(self, sink: Sink) -> None:
        self.said: list[bytes] = []
        self._sink = sink

    @property
    def started(self) -> bool:
        return self._sink.started

    def write(self, data: bytes) -> None:
        self.said.append(data)
        self._sink.write(data)

    async def drain(self) -> None:
        await self._sink.drain()


def _digest(request: Request) -> bytes:
    return hashlib.sha256(b"\x00".join((request.method.encode(), request.path.encode(), request.body))).digest()


def _again(reply: Whole, request: Request) -> Reply:
    headers = {**reply.headers, **REPLAYED}
    if not reply.content_type.startswith("text/event-stream"):
        return Whole(reply.status, reply.body, reply.content_type, headers)

    async def tell(sink: Sink) -> None:
        after(header(request, LAST), sink).write(reply.body)

    return Stream(tell, headers, reply.content_type)
