"""Prefixes on the device for which a conversation will come back when its tool has run."""

from collections import OrderedDict
from collections.abc import Sequence
from typing import NamedTuple

from weft.policy.kv_blocks import BlockPool
from weft.policy.segments import Segment


class _Pin(NamedTuple):
    leaf: Segment
    blocks: int
    until_s: float


class KeptPrefixes:
    """What is kept goes after all else, not never. At most half of the blocks are: then the oldest is no longer."""

    def __init__(self, pool: BlockPool) -> None:
        self._pool = pool
        self._pins: OrderedDict[int, _Pin] = OrderedDict()  # by the last hash
        self._blocks = 0

    def __len__(self) -> int:
        return len(self._pins)

    def keep(self, hashes: Sequence[int], until_s: float) -> None:
        if len(hashes) > self._pool.blocks // 2 or (leaf := self._pool.pin(hashes)) is None:
            return
        self._end(hashes[-1])
        self._pins[hashes[-1]] = _Pin(leaf, len(hashes), until_s)
        self._blocks += len(hashes)
        while self._blocks > self._pool.blocks // 2:
            self._end(next(iter(self._pins)))

    def went_on(self, hashes: Sequence[int]) -> None:
        """A prompt has its blocks: whom it continues need not be kept."""
        for hash_ in hashes if self._pins else ():
            self._end(hash_)

    def expire(self, now_s: float) -> None:
        for hash_ in [each for each, pin in self._pins.items() if pin.until_s <= now_s]:
            self._end(hash_)

    def _end(self, hash_: int) -> None:
        if (pin := self._pins.pop(hash_, None)) is not None:
            self._pool.unpin(pin.leaf)
            self._blocks -= pin.blocks
