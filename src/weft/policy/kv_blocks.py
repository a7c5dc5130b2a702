"""Paged KV blocks of one replica: who holds which, what can be found again by its hash, what is thrown out first.

A `Table` lists the blocks of one sequence. Full blocks may be published under chained hashes (each stands for the whole
prefix up to its block), and another sequence with the same prefix then shares them. When nobody holds a published block
it stays cached until its place is needed, least recently used first. At all times

    allocated + free + cached = blocks

Two things make this fast in pure Python. A block with one holder has no entry in any reference count. And a decoding
batch sets blocks aside by number only (`reserve`), long before it says which sequence gets which (`claim`): a batch
that runs a thousand steps costs one call. Invariant that `match` rests on: who holds a block holds its whole prefix,
and publishing adopts the copy that is already known, so a cached block is never older than a child of it; hence if the
hash of block i is known, so are all before it, and the longest match is found by bisection.
"""

from bisect import bisect_left
from collections import OrderedDict
from collections.abc import Callable, Sequence


class Table:
    """The blocks of one sequence: `ids[i]` holds its tokens from `i * block_size`; `published` leading ones are known
    by hash, `hits` of them were found when it was allocated."""

    __slots__ = ("hits", "ids", "published", "tokens")

    def __init__(self, ids: list[int], tokens: int, published: int = 0) -> None:
        self.ids = ids
        self.tokens = tokens
        self.published = published
        self.hits = published


def _ignore(_: Sequence[int]) -> None:
    """Nobody listens."""


class BlockPool:
    """`on_published` and `on_evicted` hear the hashes that become and cease to be known here (for a prefix index)."""

    def __init__(
        self,
        blocks: int,
        block_size: int,
        on_published: Callable[[Sequence[int]], None] = _ignore,
        on_evicted: Callable[[Sequence[int]], None] = _ignore,
    ) -> None:
        self.blocks = blocks
        self.block_size = block_size
        self._free = list(range(blocks - 1, -1, -1))
        self._reserved = 0
        self._id_of: dict[int, int] = {}
        self._hash_of: dict[int, int] = {}
        self._holders: dict[int, int] = {}  # only blocks with two holders or more
        self._idle: OrderedDict[int, int] = OrderedDict()  # hash → block that nobody holds, oldest first
        self._on_published = on_published
        self._on_evicted = on_evicted

    @property
    def free(self) -> int:
        return len(self._free) - self._reserved

    @property
    def cached(self) -> int:
        return len(self._idle)

    @property
    def allocated(self) -> int:
        return self.blocks - self.available

    @property
    def available(self) -> int:
        """What can be had: free blocks, and cached ones that would be thrown out for it."""
        return len(self._free) - self._reserved + len(self._idle)

    def blocks_for(self, tokens: int) -> int:
        return -(-tokens // self.block_size)

    def match(self, hashes: Sequence[int]) -> int:
        """How many leading blocks of a prefix are known: O(log n)."""
        known = self._id_of
        if not hashes or hashes[0] not in known:
            return 0
        if hashes[-1] in known:
            return len(hashes)
        return bisect_left(hashes, True, key=lambda block: block not in known)

    def allocate(self, tokens: int, hashes: Sequence[int] = (), spare: int = 0) -> Table | None:
        """Blocks for `tokens`, known ones shared; None (and no change) unless `spare` blocks are left after it.

        At least the last token is never taken from the cache: computing it gives the logits of the next.
        """
        hits = self.match(hashes[: (tokens - 1) // self.block_size]) if hashes else 0
        fresh = self.blocks_for(tokens) - hits
        if fresh + spare + self._idle_among(hashes, hits) > self.available:
            return None
        ids = [self._hold(hash_) for hash_ in hashes[:hits]]
        return Table(ids + self._take(fresh), tokens, hits)

    def extend(self, table: Table, tokens: int) -> list[tuple[int, int]] | None:
        """Room for `tokens` in all. Returns the copies (from block, to block) to make before writing, at most one:
        a partly filled last block that a fork shares is copied on write. None (and no change) if blocks are short."""
        fresh = self.blocks_for(tokens) - len(table.ids)
        shared = tokens > table.tokens and table.tokens % self.block_size and self._holders.get(table.ids[-1])
        if fresh + bool(shared) > self.available:
            return None
        copies: list[tuple[int, int]] = []
        if shared:
            copies.append((table.ids[-1], self._take(1)[0]))
            self._drop(table.ids[-1])
            table.ids[-1] = copies[0][1]
        if fresh > 0:
            table.ids += self._take(fresh)
        table.tokens = max(table.tokens, tokens)
        return copies

    def reserve(self, blocks: int) -> None:
        """Sets blocks aside for sequences to `claim`; at most `available`."""
        assert blocks <= self.available, f"{blocks} blocks asked, {self.available} available"
        short = blocks - (len(self._free) - self._reserved)
        if short > 0:
            self._evict(short)
        self._reserved += blocks

    def claim(self, table: Table, tokens: int) -> None:
        """Room for `tokens` in all, out of what was reserved."""
        fresh = -(-tokens // self.block_size) - len(table.ids)
        if fresh > 0:
            assert fresh <= self._reserved, f"{fresh} blocks claimed, {self._reserved} reserved"
            self._reserved -= fresh
            table.ids += self._pop(fresh)
        table.tokens = tokens

    def publish(self, table: Table, hashes: Sequence[int], tokens: int) -> None:
        """Makes the blocks that the first `tokens` fill findable. What another sequence published first is adopted and
        this sequence's own copy is given back."""
        first, last = table.published, min(len(hashes), tokens // self.block_size)
        if last <= first:
            return
        table.published = last
        fresh: list[int] = []
        for index in range(first, last):
            hash_, block = hashes[index], table.ids[index]
            if hash_ in self._id_of:
                table.ids[index] = self._hold(hash_)
                self._drop(block)
            else:
                self._id_of[hash_] = block
                self._hash_of[block] = hash_
                fresh.append(hash_)
        if fresh:
            self._on_published(fresh)

    def fork(self, table: Table) -> Table:
        """A second sequence with the same tokens; it shares every block until one of the two writes."""
        for block in table.ids:
            self._holders[block] = self._holders.get(block, 1) + 1
        twin = Table(list(table.ids), table.tokens, table.published)
        twin.hits = len(twin.ids)
        return twin

    def release(self, table: Table) -> None:
        """The sequence lets go of its blocks; published ones stay cached, the end of a prefix older than its start."""
        ids = table.ids
        if not table.published and not self._holders:
            self._free += reversed(ids)
        else:
            for block in reversed(ids):
                self._drop(block)
        table.ids = []
        table.tokens = table.published = 0

    def _hold(self, hash_: int) -> int:
        block = self._idle.pop(hash_, None)
        if block is None:
            block = self._id_of[hash_]
            self._holders[block] = self._holders.get(block, 1) + 1
        return block

    def _drop(self, block: int) -> None:
        holders = self._holders.get(block)
        if holders is None:
            hash_ = self._hash_of.get(block)
            if hash_ is None:
                self._free.append(block)
            else:
                self._idle[hash_] = block
        elif holders == 2:
            del self._holders[block]
        else:
            self._holders[block] = holders - 1

    def _idle_among(self, hashes: Sequence[int], hits: int) -> int:
        """How many of the known blocks count as available now and would not any more."""
        return sum(hash_ in self._idle for hash_ in hashes[:hits]) if hits else 0

    def _take(self, count: int) -> list[int]:
        short = count - (len(self._free) - self._reserved)
        if short > 0:
            self._evict(short)
        return self._pop(count)

    def _pop(self, count: int) -> list[int]:
        if not count:
            return []
        ids = self._free[-count:]
        del self._free[-count:]
        return ids

    def _evict(self, count: int) -> None:
        gone: list[int] = []
        for _ in range(count):
            hash_, block = self._idle.popitem(last=False)
            del self._id_of[hash_], self._hash_of[block]
            self._free.append(block)
            gone.append(hash_)
        self._on_evicted(gone)
