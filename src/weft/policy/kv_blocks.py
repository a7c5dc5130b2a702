"""Paged KV blocks of one replica: who holds which, what can be found again by its hash, what is thrown out first.

A `Table` lists the blocks of one sequence. Full blocks may be published under chained hashes (each stands for the whole
prefix up to its block), and another sequence with the same prefix then shares them. When nobody holds a published block
it stays cached until its place is needed, least recently used first. At all times

    allocated + free + cached = blocks

Two things make this fast in pure Python. A block with one holder needs no reference count. And a decoding
batch sets blocks aside by number only (`reserve`), long before it says which sequence gets which (`claim`): a batch
that runs a thousand steps costs one call. Invariant that `match` rests on: who holds a block holds its whole prefix,
and publishing adopts the copy that is already known, so a cached block is never older than a child of it; hence if the
hash of block i is known, so are all before it, and the longest match is found by bisection.
"""

from bisect import bisect_left
from collections import OrderedDict
from collections.abc import Callable, Sequence

from weft.core.errors import CapacityError

_NONE = -1
"""No hash; any other integer may be one."""


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
    """`available` is what can be had: free blocks, and cached ones that would be thrown out for it. `on_published` and
    `on_evicted` hear the hashes that become and cease to be known here (for a prefix index)."""

    def __init__(
        self,
        blocks: int,
        block_size: int,
        on_published: Callable[[Sequence[int]], None] = _ignore,
        on_evicted: Callable[[Sequence[int]], None] = _ignore,
    ) -> None:
        self.blocks = blocks
        self.block_size = block_size
        self.available = blocks
        self._free = list(range(blocks - 1, -1, -1))
        self._reserved = 0
        self._id_of: dict[int, int] = {}
        self._hash_of = [_NONE] * blocks
        self._forked = False  # from the first fork on, a table may hold blocks that its twin published
        self._more: dict[int, int] = {}  # holders beyond the first, of blocks that have any
        self._idle: OrderedDict[int, int] = OrderedDict()  # hash → block that nobody holds, oldest first
        self._on_published = on_published
        self._on_evicted = on_evicted

    @property
    def free(self) -> int:
        return self.available - len(self._idle)

    @property
    def cached(self) -> int:
        return len(self._idle)

    @property
    def allocated(self) -> int:
        return self.blocks - self.available

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
        fresh = -(-tokens // self.block_size)
        if not hashes:
            return Table(self._take(fresh), tokens) if fresh + spare <= self.available else None
        hits = self.match(hashes[: (tokens - 1) // self.block_size])
        fresh -= hits
        idle = self._idle
        if fresh + spare + sum(hash_ in idle for hash_ in hashes[:hits]) > self.available:
            return None
        try:
            ids = [self._hold(hash_) for hash_ in hashes[:hits]]
        except KeyError as unknown:
            raise _unchained(unknown.args[0]) from None
        return Table(ids + self._take(fresh), tokens, hits)

    def extend(self, table: Table, tokens: int) -> list[tuple[int, int]] | None:
        """Room for `tokens` in all. Returns the copies (from block, to block) to make before writing, at most one:
        a partly filled last block that a fork shares is copied on write. None (and no change) if blocks are short."""
        fresh = self.blocks_for(tokens) - len(table.ids)
        shared = tokens > table.tokens and table.tokens % self.block_size and table.ids[-1] in self._more
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
        self.available -= blocks
        self._reserved += blocks
        if self._reserved > len(self._free):
            self._evict(self._reserved - len(self._free))

    def claim(self, table: Table, tokens: int) -> None:
        """Room for `tokens` in all, out of what was reserved."""
        fresh = -(-tokens // self.block_size) - len(table.ids)
        if fresh > 0:
            assert fresh <= self._reserved, f"{fresh} blocks claimed, {self._reserved} reserved"
            self._reserved -= fresh
            table.ids += self._free[-fresh:]
            del self._free[-fresh:]
        table.tokens = tokens

    def publish(self, table: Table, hashes: Sequence[int], tokens: int) -> None:
        """Makes the blocks that the first `tokens` fill findable. What another sequence published first is adopted and
        this sequence's own copy is given back."""
        first, last = table.published, min(len(hashes), tokens // self.block_size)
        if last <= first:
            return
        table.published = last
        while first < last and hashes[first] in self._id_of:
            own = table.ids[first]
            table.ids[first] = self._hold(hashes[first])
            self._drop(own)
            first += 1
        fresh = hashes[first:last]  # nobody knows a block whose parent nobody knows
        if fresh:
            known = len(self._id_of)
            self._id_of.update(zip(fresh, table.ids[first:last], strict=True))
            if len(self._id_of) != known + len(fresh):
                raise _unchained(fresh[0])
            for index in range(first, last):
                self._hash_of[table.ids[index]] = hashes[index]
            self._on_published(fresh)

    def fork(self, table: Table) -> Table:
        """A second sequence with the same tokens; it shares every block until one of the two writes."""
        self._forked = True
        for block in table.ids:
            self._more[block] = self._more.get(block, 0) + 1
        twin = Table(list(table.ids), table.tokens, table.published)
        twin.hits = len(twin.ids)
        return twin

    def release(self, table: Table) -> None:
        """The sequence lets go of its blocks; published ones stay cached, the end of a prefix older than its start."""
        if self._more or self._forked:
            for block in reversed(table.ids):
                self._drop(block)
        else:  # the same, shorter: nobody else holds any
            self.available += len(table.ids)
            self._free += table.ids[table.published :]
            idle, hash_of = self._idle, self._hash_of
            for block in reversed(table.ids[: table.published]):
                idle[hash_of[block]] = block
        table.ids = []
        table.tokens = table.published = 0

    def _hold(self, hash_: int) -> int:
        block = self._id_of[hash_]
        if hash_ in self._idle:
            del self._idle[hash_]
            self.available -= 1
        else:
            self._more[block] = self._more.get(block, 0) + 1
        return block

    def _drop(self, block: int) -> None:
        more = self._more.get(block)
        if more is None:
            self.available += 1
            hash_ = self._hash_of[block]
            if hash_ == _NONE:
                self._free.append(block)
            else:
                self._idle[hash_] = block
        elif more == 1:
            del self._more[block]
        else:
            self._more[block] = more - 1

    def _take(self, count: int) -> list[int]:
        self.available -= count
        short = count + self._reserved - len(self._free)
        if short > 0:
            self._evict(short)
        at = len(self._free) - count
        ids = self._free[at:]
        del self._free[at:]
        return ids

    def _evict(self, count: int) -> None:
        oldest, hash_of, id_of = self._idle.popitem, self._hash_of, self._id_of
        gone = [oldest(last=False) for _ in range(count)]
        for hash_, block in gone:
            del id_of[hash_]
            hash_of[block] = _NONE
        self._free += [block for _, block in gone]
        self._on_evicted([hash_ for hash_, _ in gone])


def _unchained(hash_: int) -> CapacityError:
    return CapacityError(
        subject=f"block hash {hash_}",
        problem="occurs after two different prefixes, or twice in one",
        way_out="chain the hashes: each is one of all tokens up to the end of its block",
    )
