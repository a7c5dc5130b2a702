"""Which cached block goes first when a place is full: the one whose loss costs least.

    value per byte  =  reuse rate · seconds saved by a hit / bytes
    seconds saved   =  to recompute it, or fetch it from a slower place that has it  −  to fetch it here
    reuse rate      ∝  Σ over its past uses of 2 ^ (−age of the use / half-life)

Old uses count less, so rank mixes recency and frequency (LRFU: Lee et al. 2001). All rates decay alike, hence the order
of two unused blocks never changes, and a heap of fixed keys does:

    key = log2(rate at its last use) + last use / half-life + log2(seconds saved / bytes)

The rate of a block that went is remembered for a while, so that one which comes again and again is known as such.
A block is of use only with all that precede it, so only leaves go: the end of a prefix before its start.
"""

import heapq
import itertools
import math
from collections import OrderedDict
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from weft.core.errors import CapacityError

K = TypeVar("K", bound=Hashable)

HALF_LIFE_S = 300.0
"""Good at all sizes on the Mooncake conversation trace (benchmarks/cache.py)."""
_LEAST_SAVED_S = 1e-9
_REMEMBERED = 8  # blocks that went, for each that is here


@dataclass(slots=True)
class _Block(Generic[K]):
    parent: K | None
    tenant: str
    worth: float  # log2(seconds saved / bytes)
    rate: float  # log2(reuse rate at the last use) + last use / half-life
    pinned_until_s: float = -math.inf

    @property
    def key(self) -> float:
        return self.rate + self.worth


class EvictionOrder(Generic[K]):
    """The blocks of one place. Time is an argument of whatever depends on it, and never goes back."""

    def __init__(self, half_life_s: float = HALF_LIFE_S) -> None:
        if not half_life_s > 0:
            raise CapacityError(
                subject="eviction", problem=f"half-life {half_life_s} s", way_out="give a positive number of seconds"
            )
        self._half_life_s = half_life_s
        self._blocks: dict[K, _Block[K]] = {}
        self._children: dict[K, int] = {}
        self._leaves: dict[str | None, list[tuple[float, int, K]]] = {}  # heaps: all (None), by tenant
        self._pins: list[tuple[float, int, K]] = []
        self._gone: OrderedDict[K, float] = OrderedDict()  # the rates of blocks that went, should they come again
        self._turn = itertools.count()

    def __len__(self) -> int:
        return len(self._blocks)

    def __contains__(self, key: K) -> bool:
        return key in self._blocks

    def add(self, key: K, parent: K | None, tenant: str, size_bytes: int, saved_s: float, now_s: float) -> None:
        if key in self._blocks:
            self.use((key,), now_s)
            return
        now = now_s / self._half_life_s
        rate = now + math.log2(1.0 + 2.0 ** (self._gone.pop(key, -math.inf) - now))
        self._blocks[key] = _Block(parent, tenant, _worth(saved_s, size_bytes), rate)
        if parent is not None:
            self._children[parent] = self._children.get(parent, 0) + 1
        self._offer(key)

    def use(self, keys: Sequence[K], now_s: float) -> None:
        """A prefix was asked for."""
        now = now_s / self._half_life_s
        for key in reversed(keys):
            block = self._blocks.get(key)
            if block is not None:
                block.rate = now + math.log2(1.0 + 2.0 ** (block.rate - now))
                self._offer(key)

    def reprice(self, key: K, size_bytes: int, saved_s: float) -> None:
        """What a hit saves has changed: a slower place holds it now, or no longer."""
        block = self._blocks.get(key)
        if block is not None:
            block.worth = _worth(saved_s, size_bytes)
            self._offer(key)

    def pin(self, keys: Iterable[K], until_s: float) -> None:
        """They stay until then, or until `unpin`; with them, all that precedes them."""
        for key in keys:
            block = self._blocks.get(key)
            if block is not None:
                block.pinned_until_s = max(block.pinned_until_s, until_s)

    def unpin(self, keys: Iterable[K]) -> None:
        for key in keys:
            block = self._blocks.get(key)
            if block is not None:
                block.pinned_until_s = -math.inf
                self._offer(key)

    def remove(self, key: K) -> None:
        block = self._blocks.pop(key, None)
        if block is None:
            return
        self._gone[key] = block.rate
        while len(self._gone) > _REMEMBERED * (len(self._blocks) + 1):
            self._gone.popitem(last=False)
        if block.parent is None:
            return
        left = self._children[block.parent] - 1
        if left:
            self._children[block.parent] = left
            return
        del self._children[block.parent]
        self._offer(block.parent)

    def victim(self, now_s: float, tenant: str | None = None) -> K | None:
        """The block to go first, of this tenant or of all; None where all that is there is pinned."""
        while self._pins and self._pins[0][0] <= now_s:
            self._offer(heapq.heappop(self._pins)[2])
        leaves = self._leaves.get(tenant, [])
        while leaves:
            key = leaves[0][2]
            block = self._leaf(leaves[0])
            if block is not None and block.pinned_until_s <= now_s:
                return key
            heapq.heappop(leaves)
            if block is not None:  # comes back when its pin ends
                heapq.heappush(self._pins, (block.pinned_until_s, next(self._turn), key))
        return None

    def _offer(self, key: K) -> None:
        block = self._blocks.get(key)
        if block is None or key in self._children:
            return
        entry = (block.key, next(self._turn), key)
        for whose in (None, block.tenant):
            leaves = self._leaves.setdefault(whose, [])
            heapq.heappush(leaves, entry)
            if len(leaves) > 64 + 4 * len(self._blocks):
                leaves[:] = [each for each in leaves if self._leaf(each) is not None]
                heapq.heapify(leaves)

    def _leaf(self, entry: tuple[float, int, K]) -> _Block[K] | None:
        """None if the entry is stale."""
        block = self._blocks.get(entry[2])
        return block if block is not None and block.key == entry[0] and entry[2] not in self._children else None


def best_prefix(recompute_s: Sequence[float], fetch_s: Sequence[float]) -> int:
    """How many leading blocks to fetch, so that fetching these and recomputing the rest takes least."""
    best, least_s, gained_s = 0, 0.0, 0.0
    for at, (recompute, fetch) in enumerate(zip(recompute_s, fetch_s, strict=True), start=1):
        gained_s += fetch - recompute
        if gained_s <= least_s:
            best, least_s = at, gained_s
    return best


def _worth(saved_s: float, size_bytes: int) -> float:
    return math.log2(max(saved_s, _LEAST_SAVED_S) / max(1, size_bytes))
