"""Caches of the torch engine that other threads read and write where they lie, as they move between engines.

Whoever reads borrows: nothing is taken away until it is given back. Whoever writes is given a seat: blocks, or main
memory, that nobody else looks at until the whole cache has arrived.
"""

import weakref
from collections.abc import Sequence

import numpy as np

from weft.core.errors import RunError
from weft.policy import sequence as policy
from weft.runtime.engines.caches import Caches
from weft.runtime.engines.executor import Executor
from weft.runtime.engines.paged_kv import HostKv, Rows
from weft.runtime.engines.sequences import Sequences
from weft.runtime.engines.track import UNKNOWN, Track


class Loans:
    def __init__(self, sequences: Sequences, caches: Caches, executor: Executor) -> None:
        self._sequences = sequences
        self._caches = caches
        self._executor = executor
        self._lent: weakref.WeakSet[Rows] = weakref.WeakSet()

    def seat(self, id: int, tokens: int, prompt: Sequence[int], salt: str) -> Rows:
        """Room for a cache that comes from elsewhere: in blocks, or in main memory if there are none. Without `prompt`
        its tokens are not known."""
        track = Track(id, list(prompt or [UNKNOWN] * tokens), salt, foreign=True)
        served = policy.Sequence(id, tokens, 1, keep=True)
        if self._executor.in_place and self._sequences.batcher.seat(served):
            track.kept, track.blocks = served, np.array(served.table.ids)
        elif not self._caches.spill(track, kv := self._executor.host(tokens)):
            raise self._caches.no_room(track, kv)
        self._sequences.arriving[id] = track
        return self._rows(track, tokens)

    def arrive(self, id: int, first_token: int) -> None:
        """All of it is there."""
        track = self._sequences.arriving.pop(id, None)
        if track is None:
            problem, way_out = "a step failed while a cache came in", "transfer it again"
            raise RunError(subject="torch engine", problem=problem, way_out=way_out)
        self._sequences.tracks[id] = track
        track.tokens.append(first_token)
        if track.kept is not None:
            self._caches.lend(track, track.kept)

    def unseat(self, id: int) -> None:
        """It will not come. One that has is fine."""
        track = self._sequences.arriving.pop(id, None)
        if track is not None and track.kept is not None:
            self._sequences.batcher.release(track.kept)

    def borrow(self, id: int) -> Track:
        """Its cache stays where it is, whatever happens, until `give_back`."""
        track = self._readable(id)
        if track.host is None and not (self._executor.in_place and track.kept is not None):
            # it grows, or lies on several ranks: what there is now
            track = Track(id, list(track.tokens), track.salt, host=self._executor.read(track.blocks, track.stored))
        track.borrowed += 1
        if track.kept is not None:
            self._sequences.batcher.hold(track.kept)
        return track

    def give_back(self, track: Track) -> None:
        track.borrowed -= 1
        if track.borrowed:
            return
        if self._sequences.tracks.get(track.id) is not track:
            self._caches.drop(track)  # it was released meanwhile
        elif track.kept is not None:
            self._caches.lend(track, track.kept)

    def rows(self, track: Track) -> Rows:
        return self._rows(track, track.stored)

    def read(self, id: int) -> HostKv:
        """A copy of a sequence's cache: all its tokens but the last."""
        track = self._readable(id)
        return track.host or self._executor.read(track.blocks, track.stored)

    def void(self) -> None:
        """What was lent is lost."""
        for rows in [*self._lent]:
            rows.void = True

    def _rows(self, track: Track, tokens: int) -> Rows:
        if track.host is not None:
            return track.host.rows
        rows = self._executor.rows(track.blocks, tokens)
        self._lent.add(rows)
        return rows

    def _readable(self, id: int) -> Track:
        track = self._sequences.get(id)
        if not track.readable:
            raise RunError(
                subject=f"sequence {id}",
                problem="has no whole cache: it is still computed, or was thrown out when its reply ended",
                way_out="export between prefill and decode",
            )
        return track
