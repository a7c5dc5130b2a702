"""Which workers hold which prefix: a flat dictionary, chained block hash → bitmask of workers.

A hash stands for all blocks up to its own, so no tree is needed. A worker that holds block i of a prefix holds all
before it (see kv_blocks), hence the masks along a prefix only shrink, and a look-up gallops to the places where they
do: O(workers that differ · log blocks) instead of one step a block.
"""

from collections import OrderedDict, deque
from collections.abc import Sequence

from weft.core.errors import CapacityError

Levels = list[tuple[int, int]]
"""(blocks, mask of the workers that hold at least so many), most blocks first."""


class PrefixIndex:
    """Workers are small integers. `add` and `remove` fit `BlockPool.on_published` and `on_evicted`."""

    def __init__(self) -> None:
        self._masks: dict[int, int] = {}

    def __len__(self) -> int:
        return len(self._masks)

    def add(self, worker: int, hashes: Sequence[int]) -> None:
        masks, bit = self._masks, 1 << worker
        if masks.keys().isdisjoint(hashes):
            masks.update(dict.fromkeys(hashes, bit))
            return
        for hash_ in hashes:
            masks[hash_] = masks.get(hash_, 0) | bit

    def remove(self, worker: int, hashes: Sequence[int]) -> None:
        masks, bit = self._masks, 1 << worker
        if set(map(masks.get, hashes)) == {bit}:  # nobody else holds any
            deque(map(masks.pop, hashes), 0)
            return
        for hash_ in hashes:
            mask = masks.get(hash_, 0)
            if mask == bit:
                del masks[hash_]
            elif mask & bit:
                masks[hash_] = mask ^ bit

    def remove_worker(self, worker: int) -> None:
        """It is gone, with its cache."""
        self.remove(worker, [hash_ for hash_, mask in self._masks.items() if mask >> worker & 1])

    def match(self, hashes: Sequence[int]) -> Levels:
        """Who holds how much of this prefix; empty when nobody holds its first block."""
        get, end = self._masks.get, len(hashes)
        mask, at = get(hashes[0], 0) if hashes else 0, 0
        levels: Levels = []
        while mask:
            low, high, stride = at, at + 4, 4  # all of `mask` hold block `low`; gallop, then halve
            while high < end and get(hashes[high], 0) & mask == mask:
                low, stride = high, 2 * stride
                high += stride
            high = min(high, end)
            while high - low > 1:
                middle = (low + high) >> 1
                if get(hashes[middle], 0) & mask == mask:
                    low = middle
                else:
                    high = middle
            levels.append((high, mask))
            at = high
            mask = mask & get(hashes[at], 0) if at < end else 0
        levels.reverse()
        return levels


def blocks_held(levels: Levels, worker: int) -> int:
    """Leading blocks of the matched prefix that a worker holds."""
    for blocks, mask in levels:
        if mask >> worker & 1:
            return blocks
    return 0


def workers_held(levels: Levels) -> dict[int, int]:
    """Worker → leading blocks of the matched prefix that it holds, for those that hold any."""
    held: dict[int, int] = {}
    seen = 0
    for blocks, mask in levels:
        fresh = mask & ~seen
        while fresh:
            bit = fresh & -fresh
            held[bit.bit_length() - 1] = blocks
            fresh ^= bit
        seen = mask
    return held


class AssumedCache:
    """What a worker that reports nothing probably holds: the last `blocks` blocks sent to it, least recently used out.

    The end of a prefix goes before its start, as it does in a replica. Once it is `fed`, the worker tells what goes.
    """

    def __init__(self, index: PrefixIndex, worker: int, blocks: int) -> None:
        if blocks < 1:
            raise CapacityError(
                subject="assumed cache", problem=f"{blocks} blocks", way_out="give what the worker's memory holds"
            )
        self._index = index
        self._worker = worker
        self._blocks = blocks
        self._order: OrderedDict[int, None] = OrderedDict()
        self.fed = False

    def touch(self, hashes: Sequence[int]) -> None:
        """A request with this prefix went to the worker, or it says that it holds it."""
        if not hashes:
            return
        order, fresh = self._order, [hash_ for hash_ in hashes if hash_ not in self._order]
        for hash_ in reversed(hashes):
            order[hash_] = None
            order.move_to_end(hash_)
        if not fresh:
            return
        self._index.add(self._worker, fresh)
        excess = len(order) - self._blocks
        if excess > 0 and not self.fed:
            self._index.remove(self._worker, [order.popitem(last=False)[0] for _ in range(excess)])

    def drop(self, hashes: Sequence[int]) -> None:
        """The worker says that it holds them no more."""
        gone = [hash_ for hash_ in hashes if hash_ in self._order]
        for hash_ in gone:
            del self._order[hash_]
        self._index.remove(self._worker, gone)
