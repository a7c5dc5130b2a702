"""Where the caches of the torch engine's sequences are: in blocks, in main memory, or gone.

A cache that rests between two requests (prefilled, not yet decoded) is lent to whoever needs its blocks; it then moves
to main memory and back when its turn comes.
"""

from collections.abc import Iterator

import numpy as np

from weft.core.errors import RunError
from weft.policy import sequence as policy
from weft.policy.sequence import Stage
from weft.runtime.engines.executor import Executor
from weft.runtime.engines.growth import Growths
from weft.runtime.engines.paged_kv import HostKv
from weft.runtime.engines.sequences import Sequences
from weft.runtime.engines.track import Track

Lost = tuple[Track, RunError]
"""A sequence whose cache found no room, and what its asker is told."""


class Caches:
    """`spill_bytes` is how much main memory caches may take that are not in blocks."""

    def __init__(self, sequences: Sequences, executor: Executor, spill_bytes: int) -> None:
        self.spill_bytes = spill_bytes
        self.growths = Growths(executor)
        self._sequences = sequences
        self._executor = executor
        self._resting: dict[policy.Sequence, Track] = {}
        self._waiting: dict[Track, None] = {}  # for blocks to put their caches in

    def rest(self, track: Track, served: policy.Sequence) -> None:
        """Between two requests: in its blocks, until somebody needs them."""
        track.kept, track.blocks = served, np.array(served.table.ids)
        self.lend(track, served)

    def lend(self, track: Track, served: policy.Sequence) -> None:
        """Its blocks may be taken from now on."""
        self._resting[served] = track
        self._sequences.batcher.lend(served, yields=True)

    def wait(self, track: Track) -> None:
        """It is submitted, and its cache goes into the blocks that it will get."""
        track.waits_for_cache = True
        self._waiting[track] = None

    def leave(self, track: Track) -> None:
        """Its request is over."""
        self._waiting.pop(track, None)
        track.waits_for_cache = False

    def drop(self, track: Track) -> None:
        track.host = None
        if track.kept is not None:
            del self._resting[track.kept]
            self._sequences.batcher.release(track.kept)
            track.kept = None

    def lose_blocks(self) -> None:
        """Nobody knows any more what is in them."""
        self.growths.end_all()
        self._resting.clear()
        self._waiting.clear()

    def move(self, iteration: policy.Iteration) -> Iterator[Lost]:
        """What `plan` decided, in the store: first out, then in. The blocks that were taken are still as they were. To
        be ended at once: who is lost is not filled in later."""
        for served, track in [each for each in self._resting.items() if each[0].stage is Stage.ENDED]:
            if track.active is None or track.active.continues is not served or track.active.stage is Stage.WAITING:
                del self._resting[served]
                self.growths.end(track.id)
                track.kept, kv = None, self._executor.read(track.blocks, track.stored)
                if not self.spill(track, kv) and track.active is not None:  # nobody waits: it is computed again
                    yield track, self.no_room(track, kv)
        for served in iteration.preempted:
            track = self._sequences.active[served]
            self.growths.lose(track.id)
            if not track.known:
                yield from self._set_aside(track, served)
        for track, served in [(each, each.active) for each in self._waiting]:
            if served is not None and served.stage is not Stage.WAITING:
                del self._waiting[track]
                self._fill(track, served)

    def spill(self, track: Track, kv: HostKv) -> bool:
        """Keeps a cache in main memory: if need be in place of those, oldest first, that can be computed again."""
        tracks = [*self._sequences.tracks.values(), *self._sequences.arriving.values()]
        held = {each: each.host.size_bytes for each in tracks if each.host is not None}
        over = sum(held.values()) + kv.size_bytes - self.spill_bytes
        for each in [other for other in held if other.known and other.active is None and not other.borrowed]:
            if over <= 0:
                break
            each.host = None
            over -= held[each]
        if over > 0:
            return False
        track.host = kv
        return True

    def no_room(self, track: Track, kv: HostKv) -> RunError:
        held = sum(each.host.size_bytes for each in self._sequences.tracks.values() if each.host)
        return RunError(
            subject=f"KV cache of sequence {track.id}",
            problem=f"has {kv.size_bytes:,} bytes, of {self.spill_bytes:,} in main memory {held:,} are taken",
            way_out="wait until other replies have ended, or give the node more (kv_spill_gib)",
        )

    def _set_aside(self, track: Track, served: policy.Sequence) -> Iterator[Lost]:
        """The cache of a preempted sequence that cannot be computed again."""
        kv = self._executor.read(track.blocks, track.stored)
        if self.spill(track, kv):
            served.loaded = track.stored
            self.wait(track)
        else:
            yield track, self.no_room(track, kv)

    def _fill(self, track: Track, served: policy.Sequence) -> None:
        """Its cache into the blocks it got; known blocks of the prefix are there already, or all."""
        blocks = np.array(served.table.ids)
        track.waits_for_cache = False
        if served.continues is not None:
            del self._resting[served.continues]
            track.blocks, track.kept = blocks, None
            return
        known = min(served.table.hits * self._sequences.pool.block_size, track.stored)
        if track.host is not None:
            self._executor.write(blocks, known, track.host)
        else:
            self._executor.copy(track.blocks, blocks, known, track.stored)
        track.blocks = blocks
        self.drop(track)
