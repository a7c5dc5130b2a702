"""An engine's prefixes beyond its device: prompts are looked up in the cache below before they are computed, and what
was computed is offered to it. Nothing here fails a request: what cannot be had is computed.
"""

import logging
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from weft.core.errors import QuotaError
from weft.policy.block_hash import block_hashes
from weft.policy.kv_blocks import BlockPool
from weft.runtime.cache.base import Block, BlockCache, Buffer
from weft.runtime.cache.held import HeldPrefixes
from weft.runtime.cache.work import Workers

_log = logging.getLogger(__name__)
SAVES_WAITING = 128  # blocks that were copied and wait for a place; more are not offered
REMEMBERED = 1 << 16  # blocks that were offered lately, and pins, whatever became of them


class BlockStore(Protocol):
    """Where the device keeps its blocks."""

    @property
    def block_bytes(self) -> int: ...

    def get_block(self, block: int) -> np.ndarray:
        """A copy of K and V of all layers, as bytes."""
        ...

    def put_block(self, block: int, data: Buffer) -> bool:
        """False if it is not of the right size."""
        ...


@dataclass(frozen=True, slots=True)
class Fetched:
    """Blocks `hashes[known:]` of a prompt; those before are on the device already."""

    hashes: tuple[int, ...]
    known: int
    payloads: list[Buffer]


class PrefixTiers:
    """`fetch` and `close` are for callers' threads, `insert`, `offer` and `pin` for the engine's."""

    def __init__(self, cache: BlockCache, held: HeldPrefixes, store: BlockStore, pool: BlockPool) -> None:
        self.fetched_blocks = self.offered_blocks = self.dropped_blocks = 0
        self._cache = cache
        self._held = held
        self._store = store
        self._pool = pool
        self._offered: OrderedDict[int, None] = OrderedDict()
        self._pins: OrderedDict[int, int] = OrderedDict()
        self._saver = Workers("kv-save", 1, SAVES_WAITING)

    def fetch(self, prompt: Sequence[int], salt: str) -> Fetched | None:
        """What the tiers have of it and the device has not, if it is better fetched than computed."""
        hashes = block_hashes(prompt, self._pool.block_size, salt)[: (len(prompt) - 1) // self._pool.block_size]
        self._unpin(hashes)
        known = self._held.on_device(hashes)
        if known == len(hashes):
            return None
        found = self._cache.lookup(hashes)
        if found.worth <= known:
            return None
        payloads = self._cache.load(hashes[known : found.worth])
        return Fetched(hashes[: known + len(payloads)], known, payloads) if payloads else None

    def insert(self, fetched: Fetched) -> None:
        """Makes them known to the pool, with nobody who holds them: the prompt that comes next finds them."""
        if put_fetched(fetched, self._pool, self._store):
            self.fetched_blocks += len(fetched.payloads)

    def offer(self, hashes: Sequence[int], blocks: Sequence[int], s_per_block: float, tenant: str) -> None:
        """Published blocks. Those that the tiers lack are copied now and saved behind the engine's back."""
        for at, (hash_, block) in enumerate(zip(hashes, blocks, strict=False)):
            if hash_ in self._offered or self._held.is_below(hash_):
                continue
            if self._saver.waiting >= SAVES_WAITING:
                self.dropped_blocks += 1
                return
            self._offered[hash_] = None
            while len(self._offered) > REMEMBERED:
                self._offered.popitem(last=False)
            saved = Block(hash_, hashes[at - 1] if at else None, s_per_block, tenant)
            self.offered_blocks += self._saver.offer(self._saving(saved, self._store.get_block(block)))

    def pin(self, hashes: Sequence[int], for_s: float, tenant: str) -> None:
        """While a tool runs: until its prompt goes on, or so long. After the saves that are under way."""

        def pin() -> None:
            try:
                self._pins[hashes[-1]] = self._cache.pin(hashes, for_s, tenant)
                if len(self._pins) > REMEMBERED:  # of conversations that never went on: they have ended by themselves
                    self._pins.popitem(last=False)
            except QuotaError as error:
                _log.info("%s", error)

        if hashes:
            self._saver.offer(pin)

    def forget(self, hash_: int) -> None:
        """It left the tiers: it may be offered again."""
        self._offered.pop(hash_, None)

    def close(self, timeout_s: float = 5.0) -> None:
        self._saver.drain(timeout_s)
        self._saver.close()

    def _saving(self, block: Block, payload: np.ndarray) -> Callable[[], object]:
        return lambda: self._cache.save(block, payload.data)

    def _unpin(self, hashes: Sequence[int]) -> None:
        for hash_ in hashes if self._pins else ():
            pin = self._pins.pop(hash_, None)
            if pin is not None:
                self._cache.unpin(pin)


def put_fetched(fetched: Fetched, pool: BlockPool, store: BlockStore) -> bool:
    """Into blocks that nobody holds; False where there is no room, or what precedes them is not there."""
    hashes = fetched.hashes
    table = pool.allocate(len(hashes) * pool.block_size, hashes)
    if table is None:
        return False
    blocks = table.ids
    whole = table.hits >= fetched.known and all(
        store.put_block(blocks[at], payload)
        for at, payload in enumerate(fetched.payloads, start=fetched.known)
        if at >= table.hits
    )
    if whole:
        pool.publish(table, hashes, len(hashes) * pool.block_size)
    pool.release(table)
    return whole
