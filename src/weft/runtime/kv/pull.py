"""Moving one cache from node to node: encoded ahead of the sending, and able to go on where a connection was cut."""

import asyncio
from collections.abc import AsyncGenerator

from weft.core.errors import WireError
from weft.runtime.kv.cache import KvCache
from weft.runtime.kv.wire import Buffer, KvReader, encode_layer
from weft.runtime.threads import in_thread


async def encoded_ahead(kv: KvCache, first_layer: int) -> AsyncGenerator[tuple[Buffer, ...], None]:
    """The chunks of the layers from `first_layer` on; the checksums of the next are made while one is on its way."""
    ahead: asyncio.Future[tuple[Buffer, ...]] | None = None
    for layer in range(max(0, first_layer), kv.shape.layers):
        chunk = await (ahead or in_thread(lambda layer=layer: encode_layer(kv, layer)))
        if layer + 1 < kv.shape.layers:
            ahead = asyncio.ensure_future(in_thread(lambda layer=layer: encode_layer(kv, layer + 1)))
        yield chunk


class KvPull:
    """A cache on its way in. It outlives the connection that it comes over."""

    def __init__(self, sequence: int, model_hash: str) -> None:
        self.sequence = sequence
        self.moved_bytes = 0
        self._model_hash = model_hash
        self._prelude = b""
        self._reader: KvReader | None = None

    @property
    def whole_layers(self) -> int:
        return 0 if self._reader is None else self._reader.whole_layers

    @property
    def complete(self) -> bool:
        return self._reader is not None and self._reader.complete

    def begin(self, prelude: Buffer) -> None:
        """Also when it begins again: then it must be the same cache."""
        self.moved_bytes += len(prelude)
        if self._reader is None:
            self._reader, self._prelude = KvReader(prelude, model_hash=self._model_hash), bytes(prelude)
        elif bytes(prelude) != self._prelude:
            raise WireError(
                subject="KV cache", problem="is another one after the connection was cut", way_out="prefill again"
            )
        else:
            self._reader.rewind()

    def add(self, chunk: Buffer) -> None:
        assert self._reader is not None, "begin() comes first"
        self._reader.add(chunk)
        self.moved_bytes += len(chunk)

    def finish(self) -> KvCache:
        assert self._reader is not None, "begin() comes first"
        return self._reader.finish()
