"""For engines that give away and take in whole caches: a cache as a source, and a sink that hands over a whole one."""

from collections.abc import Callable

from weft.runtime.kv.cache import KvCache, KvShape
from weft.runtime.kv.wire import Buffer, Parts, bytes_view, joined


class WholeSource:
    def __init__(self, kv: KvCache, prompt: tuple[int, ...] = (), salt: str = "") -> None:
        self.shape = kv.shape
        self.prompt = prompt
        self.salt = salt
        self._kv = kv

    def ready(self, beyond: int) -> int:
        return self.shape.tokens

    def read(self, layer: int, first: int, end: int) -> tuple[Buffer, ...]:
        shape, (keys, values, *scales) = self.shape, self._kv.parts(layer)
        size = shape.block_size or 1
        cut = (slice(None),) * shape.token_axis + (slice(first // size, -(-end // size)),)
        return tuple(map(bytes_view, (keys[cut], values[cut], *(scale[:, first:end] for scale in scales))))

    def close(self) -> None: ...


class WholeSink:
    """`take` gets the cache and the first token of the reply, and gives the sequence."""

    def __init__(self, shape: KvShape, take: Callable[[KvCache, int], int]) -> None:
        self._shape = shape
        self._take = take
        self._runs: list[list[Parts]] = [[] for _ in range(shape.layers)]

    def write(self, layer: int, first: int, tokens: int, parts: Parts) -> None:
        self._runs[layer].append(parts)

    def finish(self, first_token: int) -> int:
        return self._take(
            KvCache.of_parts(self._shape, [joined(runs, self._shape) for runs in self._runs]), first_token
        )

    def close(self) -> None:
        self._runs.clear()
