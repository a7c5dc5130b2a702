"""Cached prefixes of an engine that leave for another engine with the same model, block by block as they lie there."""

import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import inf

from weft.policy.handover import Cached, HandoverTerms, worth_moving
from weft.policy.kv_blocks import BlockPool
from weft.runtime.cache.base import Buffer
from weft.runtime.engines.offers import Offers
from weft.runtime.engines.step_loop import StepLoop
from weft.runtime.engines.tiered import BlockStore, Fetched, put_fetched

RUN_BYTES = 16 * 1024**2


@dataclass(frozen=True, slots=True)
class Run:
    """The last blocks of a prefix, with a checksum each."""

    hashes: tuple[int, ...]
    payloads: tuple[Buffer, ...]
    checks: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Choice:
    """Of `cached` blocks those in `moving` are worth it."""

    cached: int
    moving: tuple[Cached, ...]


@dataclass(frozen=True, slots=True)
class PrefixMoves:
    """For callers' threads."""

    loop: StepLoop
    pool: BlockPool
    store: BlockStore
    offers: Offers

    def worth(self, bytes_per_s: float, within_s: float, younger_s: float = inf) -> Choice:
        """What is cached, and what of it is cheaper moved than read again; of what was used since then."""
        cached = [each for each in self.loop.call(self._cached) if each.age_s < younger_s]
        s_per_block, size_bytes = self.offers.s_per_token * self.pool.block_size, self.store.block_bytes
        terms = HandoverTerms(s_per_block, size_bytes, bytes_per_s, within_s)
        return Choice(sum(each.own for each in cached), tuple(worth_moving(cached, terms)))

    def read(self, cached: Cached) -> Iterator[Run]:
        """In runs that one frame holds; ends where a block has gone meanwhile."""
        at, step = len(cached.hashes) - cached.own, max(1, RUN_BYTES // self.store.block_bytes)
        while at < len(cached.hashes):
            hashes = cached.hashes[: at + step]
            payloads = self.loop.call(lambda hashes=hashes, at=at: self._copied(hashes, at))
            if payloads is None:
                return
            yield Run(hashes, payloads, tuple(zlib.crc32(each) for each in payloads))
            at += step

    def write(self, run: Run) -> bool:
        """False where there is no room, what precedes it is not here, or it arrived damaged."""
        if tuple(zlib.crc32(each) for each in run.payloads) != run.checks:
            return False
        fetched = Fetched(run.hashes, len(run.hashes) - len(run.payloads), list(run.payloads))
        return self.loop.call(lambda: put_fetched(fetched, self.pool, self.store))

    def _cached(self) -> list[Cached]:
        return [Cached(hashes, own, self.offers.age_s(hashes[-own:])) for hashes, own in self.pool.prefixes()]

    def _copied(self, hashes: Sequence[int], at: int) -> tuple[Buffer, ...] | None:
        table = self.pool.allocate((len(hashes) + 1) * self.pool.block_size, hashes)
        if table is None:
            return None
        try:
            whole = table.hits >= len(hashes)
            return tuple(self.store.get_block(block).data for block in table.ids[at : len(hashes)]) if whole else None
        finally:
            self.pool.release(table)
