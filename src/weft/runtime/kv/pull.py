"""Moving one cache from node to node: encoded ahead of the sending, and able to go on where a connection was cut."""

import asyncio
import contextlib
import threading
from collections.abc import AsyncGenerator, Callable, Generator
from typing import NamedTuple

from weft.core.errors import WireError
from weft.runtime.kv.cache import KvShape
from weft.runtime.kv.ports import KvSink, KvSource
from weft.runtime.kv.wire import Buffer, KvReader, encode_chunk
from weft.runtime.threads import in_thread

RUN_BYTES = 16 * 1024**2
"""Of one chunk at most: what is on its way does not grow with the prompt."""


class Place(NamedTuple):
    """What has arrived: `tokens` of every layer, and of the layers before `layer` all up to `end` (0: nothing more)."""

    tokens: int = 0
    layer: int = 0
    end: int = 0

    def of(self, layer: int) -> int:
        """Tokens of a layer."""
        return self.end if self.end and layer < self.layer else self.tokens


def checked_place(place: Place, shape: KvShape) -> Place:
    """What a peer asks for."""
    tokens, layer, end = place
    if not (0 <= tokens <= shape.tokens and 0 <= layer < shape.layers and (not end or tokens < end <= shape.tokens)):
        raise _refusal(f"of {shape.tokens} tokens and {shape.layers} layers cannot go on at {tuple(place)}")
    return place


async def encoded_ahead(source: KvSource, at: Place) -> AsyncGenerator[tuple[Buffer, ...], None]:
    """The chunks from `at` on: a run of tokens of every layer, then the next run. The checksums of the next chunk are
    made while one is on its way; where the source is still computed, the runs follow it."""
    chunks = _encoded(source, at)
    ahead = asyncio.ensure_future(anext(chunks, None))
    try:
        while (chunk := await ahead) is not None:
            ahead = asyncio.ensure_future(anext(chunks, None))
            yield chunk
    finally:
        ahead.cancel()
        await asyncio.gather(ahead, return_exceptions=True)


async def _encoded(source: KvSource, at: Place) -> AsyncGenerator[tuple[Buffer, ...], None]:
    shape, (start, layer, end) = source.shape, at
    while start < shape.tokens:
        if not end:
            here = await in_thread(lambda start=start: source.ready(start))
            end = min(here, start + _longest(shape))
        for each in range(layer, shape.layers):
            yield await in_thread(
                lambda each=each, start=start, end=end: encode_chunk(
                    each, start, end - start, source.read(each, start, end)
                )
            )
        start, layer, end = end, 0, 0


def _longest(shape: KvShape) -> int:
    """Tokens of a run: whole blocks, at least one."""
    size = shape.block_size or 1
    return max(1, RUN_BYTES // shape.layer_bytes_of(size)) * size


OpenSink = Callable[[KvShape, tuple[int, ...], str], KvSink]
"""For a cache of this shape, of this prompt (if it is known), shared under this salt."""


class KvPull:
    """A cache on its way into an engine. It outlives the connection that it comes over; `close` it in any case."""

    def __init__(self, sequence: int, model_hash: str, open_sink: OpenSink) -> None:
        self.sequence = sequence
        self.moved_bytes = 0
        self._model_hash = model_hash
        self._open_sink = open_sink
        self._prelude = b""
        self._reader: KvReader | None = None
        self._sink: KvSink | None = None
        self._lock = threading.Lock()
        self._working = self._closed = False

    @property
    def place(self) -> Place:
        """Where the sender goes on."""
        if self._reader is None:
            return Place()
        got = [self._reader.received_tokens(layer) for layer in range(self._reader.shape.layers)]
        return Place(got[-1], got.index(got[-1]), got[0] if got[0] > got[-1] else 0)

    @property
    def complete(self) -> bool:
        return self._reader is not None and self._reader.complete

    def begin(self, prelude: Buffer, prompt: tuple[int, ...] = (), salt: str = "") -> None:
        """Also when it begins again: then it must be the same cache."""
        with self._work():
            self._begin(prelude, prompt, salt)

    def _begin(self, prelude: Buffer, prompt: tuple[int, ...], salt: str) -> None:
        self.moved_bytes += len(prelude)
        if self._reader is None:
            reader = KvReader(prelude, model_hash=self._model_hash)
            if prompt and len(prompt) != reader.shape.tokens:
                raise _refusal(f"has {reader.shape.tokens} tokens and a prompt of {len(prompt)}")
            self._sink = self._open_sink(reader.shape, prompt, salt)
            self._reader, self._prelude = reader, bytes(prelude)
        elif bytes(prelude) != self._prelude:
            raise _refusal("is another one after the connection was cut")

    def add(self, chunk: Buffer) -> None:
        assert self._reader is not None and self._sink is not None, "begin() comes first"
        with self._work():
            self._sink.write(*self._reader.read(chunk))
            self.moved_bytes += len(chunk)

    def finish(self, first_token: int) -> int:
        """The sequence that it is now."""
        assert self._sink is not None and self.complete, "all chunks come first"
        return self._sink.finish(first_token)

    def close(self) -> None:
        """From any thread. A thread that is at work on it, which cannot be stopped, closes it when it is done."""
        with self._lock:
            self._closed = True
            working = self._working
        if self._sink is not None and not working:
            self._sink.close()

    @contextlib.contextmanager
    def _work(self) -> Generator[None, None, None]:
        with self._lock:
            if self._closed:
                raise _refusal("is not wanted any more")
            self._working = True
        try:
            yield
        finally:
            with self._lock:
                self._working, closed = False, self._closed
            if closed and self._sink is not None:
                self._sink.close()


def _refusal(problem: str) -> WireError:
    return WireError(subject="KV cache", problem=problem, way_out="prefill again")
