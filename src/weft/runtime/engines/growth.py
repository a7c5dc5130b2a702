"""Caches that are read while their prompts are still computed: layer by layer, in the midst of a pass.

The engine's thread only says how far it is; who reads copies, in its own thread. Blocks of a prompt under way may go to
another sequence: the engine's thread then waits for a copy that has begun, and the reader until what it lacks has been
computed again.
"""

import logging
import threading

import numpy as np

from weft.core.errors import RunError
from weft.policy.sequence import Sequence, Stage
from weft.runtime.engines.base import Begun
from weft.runtime.engines.executor import Executor, Stored
from weft.runtime.engines.paged_kv import Rows
from weft.runtime.engines.track import Track
from weft.runtime.kv.cache import KvShape
from weft.runtime.kv.pull import Place
from weft.runtime.kv.wire import Buffer
from weft.runtime.transport.buffers import BufferPool, fill

_log = logging.getLogger(__name__)


class Growth:
    """Of one sequence. One thread says what is there, any may wait and read."""

    def __init__(self, prompt: tuple[int, ...], salt: str, blocks: np.ndarray, rows: Rows) -> None:
        self.prompt = prompt
        self.salt = salt
        self.blocks = blocks
        self.whole = False
        self._rows = rows
        self._there = Place()
        self._ended = False
        self._changed = threading.Condition()
        self._copying = threading.Lock()  # while it is held, what is there stays

    def reach(self, there: Place) -> None:
        with self._changed:
            self._there = there
            self._changed.notify_all()

    def stored(self, layer: int) -> None:
        """By the pass under way."""
        self.reach(self._there._replace(layer=layer + 1))

    def move(self, blocks: np.ndarray, rows: Rows) -> None:
        """What is there lies here now."""
        with self._copying:
            self.blocks, self._rows = blocks, rows

    def lose(self, *, ended: bool = False) -> None:
        """Its blocks are about to go to others, perhaps for good. Returns when nobody reads them."""
        self._ended = self._ended or ended
        self.reach(Place())
        with self._copying:
            pass

    def wait(self, layer: int, beyond: int) -> int:
        """How many tokens of a layer are there, once they are more than that."""
        with self._changed:
            self._changed.wait_for(lambda: self._there.of(layer) > beyond or self._ended)
            if self._ended:
                problem = f"of {len(self.prompt)} tokens went when {beyond} of its layer {layer} had been read"
                raise RunError(subject="KV cache", problem=problem, way_out="prefill again")
            return self._there.of(layer)

    def read(self, layer: int, first: int, end: int, pool: BufferPool) -> Buffer:
        """A copy of K and then of V, once they are there."""
        while True:
            self.wait(layer, end - 1)
            with self._copying:
                if self._there.of(layer) >= end:  # it was not lost in between
                    pieces = self._rows.read(layer, first, end)
                    copy = pool.lend(sum(map(len, pieces)))
                    fill(np.frombuffer(copy, np.uint8), pieces)
                    return copy


class Growths:
    """By sequence, for those whose prefill tells somebody that it has begun. Only `get` may be called by any thread."""

    def __init__(self, executor: Executor) -> None:
        self._executor = executor
        self._growths: dict[int, Growth] = {}
        self._passing: list[Growth] = []

    def __len__(self) -> int:
        return len(self._growths)

    def get(self, sequence: int) -> Growth | None:
        """None: its prefill does not tell, or is over."""
        growth = self._growths.get(sequence)
        return None if growth is None or growth.whole else growth

    def begin(self, track: Track, served: Sequence, end: int) -> None:
        """A pass is about to compute its prompt up to `end`."""
        growth, begun, track.begun = self._growths.get(track.id), track.begun, None
        if growth is None:
            if begun is None or not self._executor.in_place:
                return
            rows = self._executor.rows(track.blocks, len(track.tokens))
            growth = self._growths[track.id] = Growth(tuple(track.tokens), track.salt, track.blocks, rows)
        self._follow(growth, track.blocks)
        growth.reach(Place(served.stored, 0, end))
        self._passing.append(growth)
        if begun is not None:
            _tell(begun, track.id)

    def listener(self) -> Stored | None:
        """To be told of each layer in the pass that begins; None: nobody listens."""
        passing, self._passing = self._passing, []

        def stored(layer: int) -> None:
            for growth in passing:
                growth.stored(layer)

        return stored if passing else None

    def complete(self, track: Track, served: Sequence) -> None:
        """The pass is over. What a whole prompt published may be another's block now."""
        growth = self._growths.get(track.id)
        if growth is not None and served.stage is not Stage.PREFILLING:
            growth.whole = True
            self._follow(growth, np.array(served.table.ids))

    def lose(self, sequence: int) -> None:
        """Its blocks went; its prompt will be computed again."""
        if (growth := self._growths.get(sequence)) is not None:
            growth.lose()

    def end(self, *sequences: int) -> None:
        for sequence in sequences:
            if (growth := self._growths.pop(sequence, None)) is not None:
                growth.lose(ended=True)

    def end_all(self) -> None:
        self.end(*self._growths)

    def _follow(self, growth: Growth, blocks: np.ndarray) -> None:
        if not np.array_equal(growth.blocks, blocks):
            growth.move(blocks, self._executor.rows(blocks, len(growth.prompt)))


def _tell(begun: Begun, sequence: int) -> None:
    """A listener that raises goes without the offer."""
    try:
        begun(sequence)
    except Exception:
        _log.exception("nobody takes a cache that is on offer")


class GrowthSource:
    """A KvSource."""

    def __init__(self, growth: Growth, shape: KvShape, pool: BufferPool) -> None:
        self.shape = shape
        self.prompt = growth.prompt
        self.salt = growth.salt
        self._growth = growth
        self._pool = pool

    def ready(self, beyond: int) -> int:
        return self._growth.wait(0, beyond)

    def read(self, layer: int, first: int, end: int) -> tuple[Buffer, ...]:
        return (self._growth.read(layer, first, end, self._pool),)

    def close(self) -> None: ...
