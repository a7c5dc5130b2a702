"""Caches that leave the torch engine and enter it: straight from its blocks and into its blocks."""

from collections.abc import Callable
from dataclasses import replace

from weft.runtime.engines.paged_kv import Rows
from weft.runtime.engines.track import Track
from weft.runtime.kv.cache import KvCache, KvShape
from weft.runtime.kv.convert import check_convertible, convert
from weft.runtime.kv.wire import Buffer, Parts


class BlockSource:
    """A cache that was borrowed (engines/loans.py); `give_back` runs once."""

    def __init__(self, track: Track, rows: Rows, shape: KvShape, give_back: Callable[[], object]) -> None:
        self.shape = shape
        self.prompt = tuple(track.tokens[:-1]) if track.known else ()
        self.salt = track.salt
        self._rows = rows
        self._give_back = give_back
        self._open = True

    def ready(self, beyond: int) -> int:
        return self.shape.tokens

    def read(self, layer: int, first: int, end: int) -> tuple[Buffer, ...]:
        return self._rows.read(layer, first, end)

    def close(self) -> None:
        if self._open:
            self._open = False
            self._give_back()


class BlockSink:
    """Converts what differs, run by run. `arrive` gets the first token; `give_up` runs if that never comes."""

    def __init__(
        self,
        rows: Rows,
        sent: KvShape,
        own: KvShape,
        arrive: Callable[[int], int],
        give_up: Callable[[], object],
    ) -> None:
        self._rows = rows
        self._sent = sent
        self._own = own
        self._arrive = arrive
        self._give_up = give_up
        self._open = True

    def write(self, layer: int, first: int, tokens: int, parts: Parts) -> None:
        sent, own = (replace(shape, layers=1, tokens=tokens) for shape in (self._sent, self._own))
        keys, values = convert(KvCache.of_parts(sent, [parts]), own).parts(0)
        self._rows.write(layer, first, keys, values)

    def finish(self, first_token: int) -> int:
        sequence = self._arrive(first_token)
        self._open = False
        return sequence

    def close(self) -> None:
        if self._open:
            self._open = False
            self._give_up()


def checked(sent: KvShape, own: KvShape) -> KvShape:
    """`sent`, if it can become `own`."""
    check_convertible([sent], own)
    return sent
