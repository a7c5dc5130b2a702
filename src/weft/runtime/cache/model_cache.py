"""The cache as one engine sees it: blocks of its model and format, by their hashes."""

from collections.abc import Sequence
from concurrent.futures import Future

from weft.runtime.cache.base import Block, Buffer, Found
from weft.runtime.cache.manager import CacheManager
from weft.runtime.cache.names import BlockFormat, Key, Stored, check_tenant


class ModelCache:
    """A `BlockCache`. Equal tokens have equal hashes in every model: the space keeps them apart."""

    def __init__(self, manager: CacheManager, format_: BlockFormat) -> None:
        self._manager = manager
        self._space = format_.space

    def lookup(self, hashes: Sequence[int]) -> Found:
        return self._manager.lookup(self._keys(hashes))

    def load(self, hashes: Sequence[int]) -> list[Buffer]:
        return self._manager.load(self._keys(hashes))

    def prefetch(self, hashes: Sequence[int]) -> "Future[int] | None":
        return self._manager.prefetch(self._keys(hashes))

    def save(self, block: Block, payload: Buffer) -> bool:
        check_tenant(block.tenant)
        return self._manager.save(Stored(self._space, block), payload)

    def pin(self, hashes: Sequence[int], for_s: float, tenant: str = "") -> int:
        return self._manager.pin(self._keys(hashes), for_s, check_tenant(tenant))

    def unpin(self, pin: int) -> None:
        self._manager.unpin(pin)

    def _keys(self, hashes: Sequence[int]) -> list[Key]:
        return [(self._space, hash_) for hash_ in hashes]
