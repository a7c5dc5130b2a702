"""The cheapest counts of replicas that are enough, for any test of "enough" that more replicas never fail.

First any vector that is enough, and from it one from which no replica can be taken. A cheaper one holds no more of a
pool than its money buys; what a pool needs beside so many of all others is its floor. Vectors from the floors on are
tried in order of cost, so that the first that is enough is the cheapest of all.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from heapq import heappop, heappush

Counts = tuple[int, ...]
"""Replicas of each pool."""

SAME_USD = 1e-9


@dataclass(frozen=True, slots=True)
class Market:
    """What a replica of each pool costs, and which counts there are devices for."""

    usd_per_hour: Sequence[float]
    fits: Callable[[Counts], bool]

    def cost(self, counts: Counts) -> float:
        return sum(count * usd for count, usd in zip(counts, self.usd_per_hour, strict=True))


@dataclass
class Search:
    """`enough` is asked once for each vector. After `most_asked` vectors on the way to a proof the best so far stands,
    and `proven` is False."""

    enough: Callable[[Counts], bool]
    market: Market
    most_asked: int = 200
    proven: bool = True
    known: dict[Counts, bool] = field(default_factory=dict[Counts, bool])

    def cheapest(self, start: Counts, below_usd: float = float("inf")) -> Counts | None:
        """None where nothing cheaper than `below_usd` is found to be enough."""
        first = self._first(start) if self._affordable(start, below_usd) else None
        if first is None:
            return None
        best = self._descended(first)
        most_usd = min(below_usd, self.market.cost(best))
        for counts in self._by_cost(self._floors(best, most_usd), most_usd):
            if self._ask(counts):
                return counts
        return best if self.market.cost(best) < below_usd else None

    def minimal(self, counts: Counts) -> bool:
        """Whether no single replica can be taken away: asked of each, not inferred."""
        return not any(self._ask(fewer) for fewer in one_less(counts))

    def _first(self, start: Counts) -> Counts | None:
        """Twice as many of all until it is enough; in the end as many as there are devices for."""
        counts = start
        while not self._ask(counts):
            grown = tuple(2 * count for count in counts)
            if not self.market.fits(grown):
                grown = self._all(counts, grown)
            if grown == counts:
                return None
            counts = grown
        return counts

    def _all(self, counts: Counts, goal: Counts) -> Counts:
        """One more of each in turn, while they fit."""
        grew = True
        while grew:
            grew = False
            for at in range(len(counts)):
                more = _with(counts, at, counts[at] + 1)
                if more[at] <= goal[at] and self.market.fits(more):
                    counts, grew = more, True
        return counts

    def _least(self, counts: Counts, at: int) -> int:
        """Of that pool, beside the others as they are; as many as there are, if fewer are not enough."""
        low, high = 1, counts[at]
        while low < high:
            middle = (low + high) // 2
            low, high = (low, middle) if self._ask(_with(counts, at, middle)) else (middle + 1, high)
        return low

    def _descended(self, counts: Counts) -> Counts:
        """As few as possible of the dearest pool, then of the next, until none can go."""
        places = sorted(range(len(counts)), key=lambda at: -self.market.usd_per_hour[at])
        before = None
        while counts != before:
            before = counts
            for at in places:
                counts = _with(counts, at, self._least(counts, at))
        return counts

    def _affordable(self, start: Counts, below_usd: float) -> bool:
        """Whether something that costs less might be enough: as much of every pool as the money buys of it alone is."""
        if below_usd == float("inf"):
            return True
        return self.market.cost((1,) * len(start)) < below_usd and self._ask(self._afforded(start, below_usd))

    def _floors(self, best: Counts, most_usd: float) -> Counts:
        """What a vector that costs less than `most_usd` needs of each pool at least."""
        ample = self._afforded(best, most_usd)
        return tuple(self._least(_with(ample, at, best[at]), at) for at in range(len(best)))

    def _afforded(self, least: Counts, most_usd: float) -> Counts:
        """Of each pool as many as can be had beside one of each other, `least` at least."""
        left_usd = most_usd - self.market.cost((1,) * len(least))
        prices = zip(self.market.usd_per_hour, least, strict=True)
        return tuple(max(have, 1 + int(left_usd / usd)) if usd else have for usd, have in prices)

    def _by_cost(self, floors: Counts, most_usd: float) -> Iterator[Counts]:
        """Vectors from the floors on that cost less, cheapest first. Those with nowhere more than one that is known not
        to be enough are passed over."""
        heap, seen, asked = [(self.market.cost(floors), floors)], {floors}, 0
        while heap:
            usd, counts = heappop(heap)
            if usd >= most_usd - SAME_USD:
                return
            if self.market.fits(counts) and not self._hopeless(counts):
                if asked >= self.most_asked:
                    self.proven = False
                    return
                asked += 1
                yield counts
            for at in range(len(counts)):
                more = _with(counts, at, counts[at] + 1)
                if more not in seen:
                    seen.add(more)
                    heappush(heap, (self.market.cost(more), more))

    def _hopeless(self, counts: Counts) -> bool:
        missed = (other for other, enough in self.known.items() if not enough)
        return any(all(mine <= theirs for mine, theirs in zip(counts, other, strict=True)) for other in missed)

    def _ask(self, counts: Counts) -> bool:
        if counts not in self.known:
            self.known[counts] = self.enough(counts)
        return self.known[counts]


def one_less(counts: Counts) -> Iterator[Counts]:
    """With one replica less of each pool that has more than one."""
    for at, count in enumerate(counts):
        if count > 1:
            yield _with(counts, at, count - 1)


def _with(counts: Counts, at: int, count: int) -> Counts:
    return (*counts[:at], count, *counts[at + 1 :])
