"""Paged KV blocks of one replica: who holds which, what can be found again by its hash, what is thrown out first.

A `Table` lists the blocks of one sequence. Full blocks may be published under chained hashes (each stands for the whole
prefix up to its block), and another sequence with the same prefix then shares them. When nobody holds a published block
it stays cached until its place is needed, least recently used first, those that are pinned last. At all times

    allocated + free + cached = blocks

Two things make this fast in pure Python. Published blocks are counted by the segment (see `segments`), not one by one.
And a decoding batch sets blocks aside by number only (`reserve`), long before it says which sequence gets which
(`claim`): a batch that runs a thousand steps costs one call.
"""

from collections.abc import Sequence

from weft.core.errors import CapacityError
from weft.policy.segments import Listener, Segment, Segments


class Table:
    """The blocks of one sequence: the path of segments that ends in `leaf` (`published` blocks, of which `hits` were
    found when it was allocated), then blocks of its own. `tokens` is what it has room for."""

    __slots__ = ("hits", "leaf", "own", "published", "sealed", "tokens")

    def __init__(self) -> None:
        self.leaf: Segment | None = None
        self.own: list[int] = []
        self.published = self.hits = self.tokens = 0
        self.sealed = False  # shared unpublished with a fork: what follows cannot be published either

    @property
    def ids(self) -> list[int]:
        """`ids[i]` holds the tokens from `i * block_size` on: what an engine's kernels read."""
        parts, segment = [self.own], self.leaf
        while segment is not None:
            parts.append(segment.ids)
            segment = segment.parent
        return [block for part in reversed(parts) for block in part]


def _ignore(_: Sequence[int]) -> None:
    """Nobody listens."""


class BlockPool:
    """`available` is what can be had: free blocks, and cached ones that would be thrown out for it. `on_published` and
    `on_evicted` hear the hashes that become and cease to be known here (for a prefix index)."""

    def __init__(
        self, blocks: int, block_size: int, on_published: Listener = _ignore, on_evicted: Listener = _ignore
    ) -> None:
        if blocks < 1 or block_size < 1:
            raise CapacityError(
                subject="KV cache",
                problem=f"{blocks} blocks of {block_size} tokens",
                way_out="leave memory for at least one block beside the weights",
            )
        self.blocks = blocks
        self.block_size = block_size
        self.available = blocks
        self._free = list(range(blocks - 1, -1, -1))
        self._reserved = 0
        self._segments = Segments(on_published, on_evicted)
        self._more: dict[int, int] = {}  # holders beyond the first, of partly filled blocks that forks share

    @property
    def free(self) -> int:
        return self.available - self._segments.idle

    @property
    def cached(self) -> int:
        return self._segments.idle

    @property
    def allocated(self) -> int:
        return self.blocks - self.available

    def reset(self) -> None:
        """Holds nothing any more: tables that were handed out are void, and who listens hears that all is gone."""
        self._segments.clear()
        self.available = self.blocks
        self._free = list(range(self.blocks - 1, -1, -1))
        self._reserved = 0
        self._more = {}

    def blocks_for(self, tokens: int) -> int:
        return -(-tokens // self.block_size)

    def match(self, hashes: Sequence[int]) -> int:
        """How many leading blocks of a prefix are known."""
        return self._segments.find(hashes, len(hashes))[1]

    def pin(self, hashes: Sequence[int]) -> Segment | None:
        """What is known of a prefix goes after all that nobody pins, until `unpin` gets what this gives; None: nothing
        is known of it."""
        leaf = self._segments.at(hashes)
        self._segments.pin(leaf, 1)
        return leaf

    def unpin(self, pinned: Segment | None) -> None:
        self._segments.pin(pinned, -1)

    def prefixes(self) -> list[tuple[tuple[int, ...], int]]:
        """All published blocks, in runs: the hashes of a prefix, and how many at its end are the run's own."""
        return [(tuple(self._segments.hashes(segment)), len(segment.ids)) for segment in self._segments.all]

    def allocate(self, tokens: int, hashes: Sequence[int] = (), spare: int = 0) -> Table | None:
        """Blocks for `tokens`, known ones shared; None (and no change) unless `spare` blocks are left after it.

        At least the last token is never taken from the cache: computing it gives the logits of the next.
        """
        fresh, table = -(-tokens // self.block_size), Table()
        if hashes:
            path, hits = self._segments.find(hashes, min(len(hashes), (tokens - 1) // self.block_size))
            if hits and not self._hold(table, path, hits, fresh - hits + spare):
                return None
            fresh -= hits
        if fresh + spare > self.available:
            return None
        table.own = self._take(fresh)
        table.tokens = tokens
        return table

    def extend(self, table: Table, tokens: int) -> list[tuple[int, int]] | None:
        """Room for `tokens` in all. Returns the copies (from block, to block) to make before writing, at most one:
        a partly filled last block that a fork shares is copied on write. None (and no change) if blocks are short."""
        fresh = max(0, self.blocks_for(tokens) - table.published - len(table.own))
        shared = tokens > table.tokens and bool(table.own) and table.own[-1] in self._more
        if fresh + shared > self.available:
            return None
        copies: list[tuple[int, int]] = []
        if shared:
            copies.append((table.own[-1], self._take(1)[0]))
            self._drop_last(table)
            table.own.append(copies[0][1])
        table.own += self._take(fresh)
        table.tokens = max(table.tokens, tokens)
        return copies

    def reserve(self, blocks: int) -> None:
        """Sets blocks aside for sequences to `claim`; at most `available`."""
        assert blocks <= self.available, f"{blocks} blocks asked, {self.available} available"
        self.available -= blocks
        self._reserved += blocks
        self.make_room(0)

    def make_room(self, blocks: int) -> None:
        """Throws out what reserving so many would; at most `available`."""
        short = self._reserved + blocks - len(self._free)
        if short > 0:
            self._free += self._segments.evict(short)

    def claim(self, table: Table, tokens: int) -> None:
        """Room for `tokens` in all, out of what was reserved."""
        fresh = -(-tokens // self.block_size) - table.published - len(table.own)
        if fresh > 0:
            assert fresh <= self._reserved, f"{fresh} blocks claimed, {self._reserved} reserved"
            self._reserved -= fresh
            free = self._free
            at = len(free) - fresh
            table.own += free[at:]
            del free[at:]
        table.tokens = tokens

    def publish(self, table: Table, hashes: Sequence[int], tokens: int) -> None:
        """Makes the blocks that the first `tokens` fill findable. What another sequence published first is adopted and
        this sequence's own copy is given back."""
        first, last = table.published, min(len(hashes), tokens // self.block_size)
        if last <= first or table.sealed:
            return
        segments, own = self._segments, table.own
        while first < last:
            idle = segments.idle
            known = segments.adopt(table.leaf, hashes, first, last)
            if known is None:
                table.leaf = segments.add(table.leaf, list(hashes[first:last]), own[: last - first])
                del own[: last - first]
                break
            count = len(known.ids)
            self._free += own[:count]
            self.available += count - (idle - segments.idle)
            del own[:count]
            table.leaf = known
            first += count
        table.published = last

    def exclusive(self, table: Table) -> int:
        """Blocks that only this table holds."""
        blocks, segment = len(table.own), table.leaf
        while segment is not None and segment.holders == 1:
            blocks += len(segment.ids)
            segment = segment.parent
        return blocks

    def fork(self, table: Table) -> Table:
        """A second sequence with the same tokens, which are all computed; it shares every block until one of the two
        writes. Full blocks that are not published yet cannot be any more."""
        full = table.tokens // self.block_size - table.published
        if full > 0:
            table.leaf = Segment(table.leaf, [], table.own[:full], 1)
            del table.own[:full]
            table.published += full
            table.sealed = True
        twin, segment = Table(), table.leaf
        twin.leaf, twin.own, twin.tokens, twin.sealed = table.leaf, list(table.own), table.tokens, table.sealed
        twin.published = twin.hits = table.published
        while segment is not None:
            segment.holders += 1
            segment = segment.parent
        for block in twin.own:
            self._more[block] = self._more.get(block, 0) + 1
        return twin

    def release(self, table: Table) -> None:
        """The sequence lets go of its blocks; published ones stay cached, the end of a prefix older than its start."""
        while self._more and table.own:
            self._drop_last(table)
        self._free += table.own
        self.available += len(table.own)
        if table.leaf is not None:
            idle = self._segments.idle
            free = self._segments.drop(table.leaf)
            self._free += free
            self.available += len(free) + self._segments.idle - idle
        table.leaf, table.own = None, []
        table.tokens = table.published = 0

    def _hold(self, table: Table, path: list[Segment], hits: int, needed: int) -> bool:
        """The table holds the known blocks, if `needed` more are available beside them."""
        idle = sum(len(segment.ids) for segment in path if not segment.holders)
        if not path[-1].holders:
            idle -= sum(len(segment.ids) for segment in path) - hits
        if needed + idle > self.available:
            return False
        table.leaf = self._segments.hold(path, hits)
        table.published = table.hits = hits
        self.available -= idle
        return True

    def _drop_last(self, table: Table) -> None:
        block = table.own.pop()
        more = self._more.get(block)
        if more is None:
            self._free.append(block)
            self.available += 1
        elif more == 1:
            del self._more[block]
        else:
            self._more[block] = more - 1

    def _take(self, count: int) -> list[int]:
        self.available -= count
        short = count + self._reserved - len(self._free)
        if short > 0:
            self._free += self._segments.evict(short)
        at = len(self._free) - count
        ids = sorted(self._free[at:])  # neighbours: whoever copies them does so at once
        del self._free[at:]
        return ids
