"""A node's cache from what its operator wrote down."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from weft.core.errors import InputError, MissingProgramError
from weft.core.units import GIGA
from weft.runtime.cache.base import Tier
from weft.runtime.cache.disk import DiskTier
from weft.runtime.cache.envelope import Sealer
from weft.runtime.cache.host import HostTier
from weft.runtime.cache.level import Level, LevelConfig
from weft.runtime.cache.manager import CacheManager, Listener, ManagerConfig

GUESSES = {"host": (10 * GIGA, 0.0), "disk": (1 * GIGA, 1e-4), "objects": (0.2 * GIGA, 0.03)}
"""Bytes/s and seconds to the first byte, until loads have been measured."""
OBJECT_USES = 2
"""An object store gets what was asked for again: most blocks never are (benchmarks/cache.py)."""


@dataclass(frozen=True, slots=True)
class CacheSpec:
    """No bytes: no such level. `key_files` encrypt what lies on disk and in the object store.

    `share`: of each level, that one tenant may fill (`shares`: some tenants' own).
    """

    host_bytes: int = 0
    disk_bytes: int = 0
    disk_path: Path | None = None
    objects_bytes: int = 0
    objects_url: str = ""
    objects_endpoint: str = ""
    key_files: tuple[Path, ...] = ()
    share: float = 1.0
    shares: Mapping[str, float] = field(default_factory=dict[str, float])
    manager: ManagerConfig = field(default_factory=ManagerConfig)

    def __post_init__(self) -> None:
        missing = (self.disk_bytes and self.disk_path is None) or (self.objects_bytes and not self.objects_url)
        if missing or not (self.host_bytes or self.disk_bytes or self.objects_bytes):
            raise InputError(
                subject="cache",
                problem="has no level" if not missing else "has a level without a place",
                way_out="give host_bytes, disk_bytes with disk_path, or objects_bytes with objects_url",
            )


def open_cache(
    spec: CacheSpec, on_changed: Listener | None = None, clock: Callable[[], float] = time.monotonic
) -> CacheManager:
    keys = _sealer(spec.key_files) if spec.key_files else None
    sizes = {"host": spec.host_bytes, "disk": spec.disk_bytes, "objects": spec.objects_bytes}
    levels = list[Level]()
    for name, capacity_bytes in sizes.items():
        if capacity_bytes:
            bytes_per_s, latency_s = GUESSES[name]
            min_uses = OBJECT_USES if name == "objects" and levels else 0
            config = LevelConfig(capacity_bytes, bytes_per_s, latency_s, min_uses, spec.share, spec.shares)
            levels.append(Level(_tier(name, spec), config, keys, clock))
    return CacheManager(levels, spec.manager, on_changed, clock)


def _sealer(files: tuple[Path, ...]) -> Sealer:
    try:
        from weft.runtime.cache.keys import KeyRing  # an extra
    except ImportError as error:
        raise _needs("encryption of the cache", "cryptography") from error
    return KeyRing(files)


def _needs(subject: str, library: str) -> MissingProgramError:
    return MissingProgramError(subject=subject, problem=f"needs {library}", way_out="pip install 'weft[cache]'")


def _tier(name: str, spec: CacheSpec) -> Tier:
    if name == "host":
        return HostTier(spec.host_bytes)
    if name == "disk":
        assert spec.disk_path is not None
        return DiskTier(spec.disk_path)
    try:
        from weft.runtime.cache.objects import ObjectTier  # an extra
    except ImportError as error:
        raise _needs("cache in an object store", "obstore") from error
    return ObjectTier.open(spec.objects_url, endpoint=spec.objects_endpoint)
