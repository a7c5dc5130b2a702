"""A node's tiers of KV blocks, as its spec asks for them: opened after its engine, closed with it."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

import msgspec

from weft.runtime.cache.base import BlockCache
from weft.runtime.cache.held import HeldPrefixes
from weft.runtime.cache.manager import CacheManager
from weft.runtime.cache.model_cache import ModelCache
from weft.runtime.cache.names import BlockFormat, Key
from weft.runtime.cache.opening import CacheSpec, open_cache


class NodeCache(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """No bytes: no such tier. A node uses a directory of its name in `disk_path`; a bucket may be shared. `share`: of
    each tier, that one tenant may fill."""

    host_bytes: int = 0
    disk_path: str = ""
    disk_bytes: int = 0
    objects_url: str = ""
    objects_bytes: int = 0
    objects_endpoint: str = ""
    key_files: tuple[str, ...] = ()
    share: float = 1.0

    def spec(self, node: str) -> CacheSpec:
        directory = "".join(each if each.isalnum() or each in "-_." else "_" for each in node)
        return CacheSpec(
            host_bytes=self.host_bytes,
            disk_bytes=self.disk_bytes,
            disk_path=Path(self.disk_path) / directory if self.disk_path else None,
            objects_bytes=self.objects_bytes,
            objects_url=self.objects_url,
            objects_endpoint=self.objects_endpoint,
            key_files=tuple(map(Path, self.key_files)),
            share=self.share,
        )


class Closable(Protocol):
    def forget(self, hash_: int) -> None:
        """It left the tiers."""
        ...

    def close(self) -> None: ...


@runtime_checkable
class CachingEngine(Protocol):
    @property
    def held(self) -> HeldPrefixes: ...
    @property
    def block_format(self) -> BlockFormat: ...
    def keep_below(self, cache: BlockCache) -> Closable: ...
    def pin(self, sequence: int, for_s: float) -> None: ...


@dataclass(slots=True)
class OpenTiers:
    """The tiers of a node whose engine uses them."""

    manager: CacheManager
    saver: Closable

    def stats(self) -> dict[str, float]:
        return self.manager.stats()

    def close(self) -> None:
        """What is on its way to a disk gets there."""
        self.saver.close()
        self.manager.close()


def open_tiers(cache: NodeCache, node: str, engine: CachingEngine) -> OpenTiers:
    held, savers = engine.held, list[Closable]()
    held.space = engine.block_format.space

    def changed(added: Sequence[Key], removed: Sequence[Key]) -> None:
        held.below_changed(added, removed)
        for saver in savers:
            for _, hash_ in removed:
                saver.forget(hash_)

    manager = open_cache(cache.spec(node), changed)
    savers.append(engine.keep_below(ModelCache(manager, engine.block_format)))
    return OpenTiers(manager, savers[0])
