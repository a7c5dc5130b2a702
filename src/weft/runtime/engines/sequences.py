"""Who is in the torch engine: every sequence by its number, and those being served as the batcher knows them."""

from weft.policy import sequence as policy
from weft.policy.batcher import Batcher, Limits
from weft.policy.kv_blocks import BlockPool
from weft.runtime.engines.requests import not_held
from weft.runtime.engines.track import Track


class Sequences:
    """`tracks` are all whose cache is here or can be made again, `active` those that get tokens or wait for them."""

    def __init__(self, pool: BlockPool, limits: Limits) -> None:
        self.pool = pool
        self.batcher = Batcher(limits, pool)
        self.tracks: dict[int, Track] = {}
        self.active: dict[policy.Sequence, Track] = {}
        self.arriving: dict[int, Track] = {}
        """Of these the cache is still on its way from another engine."""

    def get(self, id: int) -> Track:
        track = self.tracks.get(id)
        if track is None:
            raise not_held(id)
        return track

    def hits(self, id: int) -> int:
        """Tokens of its prompt that were not computed when it was last admitted."""
        track = self.tracks.get(id)
        served = None if track is None else track.active or track.kept
        return 0 if served is None else served.hits

    def serve(self, track: Track, served: policy.Sequence) -> None:
        """Raises CapacityError for what could never fit."""
        self.batcher.submit(served)
        track.active = served
        self.tracks[track.id] = track
        self.active[served] = track

    def stop(self, track: Track) -> None:
        """Out of the batch, if it has not ended there."""
        served = track.active
        assert served is not None
        if served.stage not in (policy.Stage.KEPT, policy.Stage.ENDED):
            self.batcher.stop(served)

    def restart(self) -> list[Track]:
        """Blocks and batch start afresh; returns whom that ends."""
        self.pool.reset()
        self.batcher = Batcher(self.batcher.limits, self.pool)
        ended = [*self.active.values()]
        self.active.clear()
        self.arriving.clear()
        for track in ended:
            if track.active is not None and not track.active.keep:
                del self.tracks[track.id]
        for track in self.tracks.values():
            track.kept = None
        return ended
