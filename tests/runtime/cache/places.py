"""Levels, blocks and tiers that the tests of the cache share."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from weft.core.errors import CacheError, TierFullError
from weft.policy.circuit import CircuitConfig
from weft.runtime.cache.base import Block, Buffer, Tier
from weft.runtime.cache.disk import DiskTier
from weft.runtime.cache.host import HostTier
from weft.runtime.cache.keys import KeyRing
from weft.runtime.cache.level import Level, LevelConfig
from weft.runtime.cache.names import BlockFormat

FORMAT = BlockFormat("m" * 64, 16, "bfloat16")
SIZE = 5_000


class Clock:
    """Moves when told to."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


class Flaky:
    """A tier that fails while `error` is set."""

    def __init__(self, tier: Tier) -> None:
        self._tier = tier
        self.error: CacheError | None = None
        self.asked = 0
        self.name, self.survives, self.remote = tier.name, tier.survives, tier.remote

    def takes(self, size_bytes: int) -> int:
        return self._tier.takes(size_bytes)

    def put(self, name: str, parts: Sequence[Buffer]) -> None:
        self._ask()
        self._tier.put(name, parts)

    def get(self, name: str) -> Buffer | None:
        self._ask()
        return self._tier.get(name)

    def remove(self, name: str) -> None:
        if not isinstance(self.error, TierFullError):
            self._ask()
        self._tier.remove(name)

    def scan(self) -> Iterator[tuple[str, int]]:
        self._ask()
        return self._tier.scan()

    def close(self) -> None:
        self._tier.close()

    def _ask(self) -> None:
        self.asked += 1
        if self.error is not None:
            raise self.error


def payload(hash_: int, size: int = SIZE) -> bytes:
    return hash_.to_bytes(8, "little") * (size // 8)


def chain(length: int, start: int = 1, tenant: str = "", cost_s: float = 1.0) -> list[Block]:
    """Blocks that follow each other, with hashes from `start`."""
    return [Block(at, at - 1 if at > start else None, cost_s, tenant) for at in range(start, start + length)]


def host(blocks: int, clock: Callable[[], float], **terms: float) -> Level:
    tier = HostTier(blocks * 8192, page_bytes=8192)
    return Level(tier, LevelConfig(blocks * 8192, bytes_per_s=1e9, **terms), clock=clock)  # pyright: ignore[reportArgumentType]


def disk(root: Path, clock: Callable[[], float], keys: KeyRing | None = None, blocks: int = 1000) -> Level:
    config = LevelConfig(blocks * 8192, bytes_per_s=1e8, circuit=CircuitConfig(failures=2, pause_s=10.0))
    return Level(DiskTier(root, sync=False), config, keys, clock)
