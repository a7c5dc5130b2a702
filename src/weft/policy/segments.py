"""Published KV blocks as a tree of segments: runs of blocks that follow each other in every prefix they are part of.

Each segment knows its parent, and a dictionary leads from the hash of its first block to it; since hashes are chained,
that is all the tree there is. A prefix that ends inside a segment splits it. Who holds a segment holds its parents.
Segments that nobody holds wait in order of release, the end of a prefix before its start, and are evicted in that order
from their last block backwards: block for block the least recently used, at the price of a step per segment. Those that
somebody pins go after all others.
"""

from bisect import bisect_left
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Self

from weft.core.errors import CapacityError

Listener = Callable[[Sequence[int]], None]


class Segment:
    """`ids[i]` holds the block of `hashes[i]`. Without hashes it is shared by a fork, but not published."""

    __slots__ = ("hashes", "holders", "ids", "parent", "pins")

    def __init__(self, parent: Self | None, hashes: list[int], ids: list[int], holders: int) -> None:
        self.parent = parent
        self.hashes = hashes
        self.ids = ids
        self.holders = holders
        self.pins = 0


class Segments:
    """`idle` counts the blocks that nobody holds."""

    def __init__(self, on_published: Listener, on_evicted: Listener) -> None:
        self.idle = 0
        self._first: dict[int, Segment] = {}
        self._order: OrderedDict[Segment, None] = OrderedDict()  # those that nobody holds, oldest first
        self._pinned: OrderedDict[Segment, None] = OrderedDict()  # the same, of those that are pinned
        self._on_published = on_published
        self._on_evicted = on_evicted

    def clear(self) -> None:
        known = [hash_ for segment in self._first.values() for hash_ in segment.hashes]
        self._first, self._order, self._pinned, self.idle = {}, OrderedDict(), OrderedDict(), 0
        if known:
            self._on_evicted(known)

    @property
    def all(self) -> list[Segment]:
        return list(self._first.values())

    def hashes(self, segment: Segment) -> list[int]:
        """Of the whole prefix that ends with it."""
        parts, each = list[list[int]](), segment
        while each is not None:
            parts.append(each.hashes)
            each = each.parent
        return [hash_ for part in reversed(parts) for hash_ in part]

    def find(self, hashes: Sequence[int], limit: int) -> tuple[list[Segment], int]:
        """The segments of the longest known prefix of at most `limit` blocks, and how many blocks of them it is."""
        path: list[Segment] = []
        parent, blocks = None, 0
        while blocks < limit and (segment := self._first.get(hashes[blocks])) is not None:
            common = _common(segment, hashes, blocks, limit)
            if segment.parent is not parent:
                raise _unchained(hashes[blocks])
            path.append(segment)
            blocks += common
            if common < len(segment.ids):
                break
            parent = segment
        return path, blocks

    def hold(self, path: list[Segment], blocks: int) -> Segment | None:
        """One more holder for a path, whose first `blocks` blocks are meant; returns its last segment."""
        if not path:
            return None
        beyond = sum(len(segment.ids) for segment in path) - blocks
        if beyond:
            path = [*path[:-1], self._split(path[-1], len(path[-1].ids) - beyond)]
        for segment in path:
            self.hold_one(segment)
        return path[-1]

    def hold_one(self, segment: Segment) -> None:
        if not segment.holders:
            self.idle -= len(segment.ids)
            self._queue(segment).pop(segment, None)
        segment.holders += 1

    def drop(self, leaf: Segment | None) -> list[int]:
        """One holder fewer, from the end to the start; returns the blocks that are free now (unpublished ones)."""
        free: list[int] = []
        while leaf is not None:
            leaf.holders -= 1
            if not leaf.holders:
                if leaf.hashes:
                    self._queue(leaf)[leaf] = None
                    self.idle += len(leaf.ids)
                else:
                    free += leaf.ids
            leaf = leaf.parent
        return free

    def adopt(self, leaf: Segment | None, hashes: Sequence[int], first: int, last: int) -> Segment | None:
        """What follows `leaf` in `hashes[first:last]`, held once more: one known segment, or None."""
        segment = self._first.get(hashes[first])
        if segment is None:
            return None
        if segment.parent is not leaf:
            raise _unchained(hashes[first])
        common = _common(segment, hashes, first, last)
        if common < len(segment.ids):
            segment = self._split(segment, common)
        self.hold_one(segment)
        return segment

    def add(self, leaf: Segment | None, hashes: list[int], ids: list[int]) -> Segment:
        """New blocks after `leaf`, with one holder."""
        segment = self._first[hashes[0]] = Segment(leaf, hashes, ids, 1)
        self._on_published(hashes)
        return segment

    def evict(self, blocks: int) -> list[int]:
        """Frees the oldest blocks that nobody holds."""
        free: list[int] = []
        gone: list[int] = []
        self.idle -= blocks
        while blocks:
            queue = self._order or self._pinned
            segment = next(iter(queue))
            take = min(blocks, len(segment.ids))
            if take == len(segment.ids):
                del queue[segment], self._first[segment.hashes[0]]
            free += segment.ids[-take:]
            gone += segment.hashes[-take:]
            del segment.ids[-take:], segment.hashes[-take:]
            blocks -= take
        self._on_evicted(gone)
        return free

    def at(self, hashes: Sequence[int]) -> Segment | None:
        """What is known of a prefix ends with this segment."""
        path, blocks = self.find(hashes, len(hashes))
        beyond = sum(len(segment.ids) for segment in path) - blocks
        if not beyond:
            return path[-1] if path else None
        last = path[-1]
        start = self._split(last, len(last.ids) - beyond)
        if not last.holders:
            self._queue(start)[start] = None
        return start

    def pin(self, leaf: Segment | None, count: int) -> None:
        """So many pins more on a segment and all before it, as far as they are still known. Where nobody holds them it
        is as if they were let go now."""
        while leaf is not None:
            queue = self._queue(leaf)
            leaf.pins += count
            if leaf in queue:
                del queue[leaf]
                self._queue(leaf)[leaf] = None
            leaf = leaf.parent

    def _queue(self, segment: Segment) -> "OrderedDict[Segment, None]":
        """Where it is while nobody holds it."""
        return self._pinned if segment.pins else self._order

    def _split(self, segment: Segment, at: int) -> Segment:
        """The first `at` blocks become a segment of their own, which is returned and in no queue yet; tables and
        children that point to the whole now point to the rest, and find the new one as its parent."""
        if segment.hashes[at] in self._first:
            raise _unchained(segment.hashes[at])
        start = Segment(segment.parent, segment.hashes[:at], segment.ids[:at], segment.holders)
        start.pins = segment.pins
        self._first[start.hashes[0]] = start
        segment.parent = start
        del segment.hashes[:at], segment.ids[:at]
        self._first[segment.hashes[0]] = segment
        return start


def _common(segment: Segment, hashes: Sequence[int], start: int, limit: int) -> int:
    """Leading blocks that a segment shares with `hashes[start:limit]`, found by bisection."""
    known = segment.hashes
    most = min(len(known), limit - start)
    if known[most - 1] == hashes[start + most - 1]:
        return most
    return bisect_left(range(most), True, key=lambda block: known[block] != hashes[start + block])


def _unchained(hash_: int) -> CapacityError:
    return CapacityError(
        subject=f"block hash {hash_}",
        problem="occurs after two different prefixes",
        way_out="chain the hashes: each is one of all tokens up to the end of its block",
    )
