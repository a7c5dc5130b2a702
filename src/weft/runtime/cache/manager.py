"""The levels of a node's cache together, fastest first: look up, load, save, pin, prefetch.

A block is saved to the host's memory at once and written to slower levels behind the engine's back; it is loaded from
the fastest that has it, and then is in the host's memory again. Nothing here fails a request: a level that is full,
broken or down is left out, and what is not had is computed again.
"""

import logging
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Self

from weft.core.errors import CacheError, CapacityError
from weft.policy.block_value import best_prefix
from weft.runtime.cache.base import Buffer, Found
from weft.runtime.cache.level import Level
from weft.runtime.cache.names import Key, Stored
from weft.runtime.cache.pins import Pins
from weft.runtime.cache.work import Workers

_log = logging.getLogger(__name__)

Listener = Callable[[Sequence[Key], Sequence[Key]], None]
"""Blocks that came to this node, and that left it. Called with the lock held: it must be quick."""


@dataclass(frozen=True, slots=True)
class ManagerConfig:
    """`pin_share`: of what a tenant may fill of a level, that it may pin."""

    write_threads: int = 2
    fetch_threads: int = 4
    writes_waiting: int = 1024
    prefetches_waiting: int = 64
    pin_share: float = 0.5

    def __post_init__(self) -> None:
        least = min(self.write_threads, self.fetch_threads, self.writes_waiting, self.prefetches_waiting)
        if least < 1 or not 0 <= self.pin_share <= 1:
            raise CapacityError(
                subject="cache manager", problem=f"{self}", way_out="take at least 1 of each and 0 ≤ pin_share ≤ 1"
            )


class CacheManager:
    """`levels`: fastest first. All models of a node share them; each sees its own through `ModelCache`."""

    def __init__(
        self,
        levels: Sequence[Level],
        config: ManagerConfig | None = None,
        on_changed: Listener | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.levels = tuple(levels)
        self.config = config or ManagerConfig()
        self.dropped_writes = self.dropped_prefetches = 0
        self._on_changed = on_changed
        self._clock = clock
        self._lock = threading.RLock()
        self._holders: dict[Key, int] = {}
        self._uses: dict[Key, int] = {}
        self._fetching: dict[Key, Future[Buffer | None]] = {}
        self._pins = Pins()
        for level in self.levels:
            level.lock, level.on_changed = self._lock, self._changed
        self._writers = Workers("kv-write", self.config.write_threads, self.config.writes_waiting)
        self._prefetchers = ThreadPoolExecutor(1, thread_name_prefix="kv-prefetch")
        self._prefetching = 0
        self._fetchers = ThreadPoolExecutor(self.config.fetch_threads, thread_name_prefix="kv-fetch")
        for level in self.levels:
            self._recover(level)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def lookup(self, keys: Sequence[Key]) -> Found:
        places, recompute_s, fetch_s = list[str](), list[float](), list[float]()
        with self._lock:
            reachable = [level for level in self.levels if level.reachable]
            begun = set[Level]()
            for key in keys:
                level = next((level for level in reachable if key in level), None)
                entry = None if level is None else level.entry(key)
                if level is None or entry is None:
                    break
                places.append(level.tier.name)
                recompute_s.append(entry.stored.block.cost_s)
                fetch_s.append(level.fetch_s(entry.size_bytes) + (0.0 if level in begun else level.config.latency_s))
                begun.add(level)
            held = list(keys[: len(places)])
            for level in self.levels:
                level.use(held)
            self._used(held)
        return Found(len(places), tuple(places), best_prefix(recompute_s, fetch_s))

    def load(self, keys: Sequence[Key]) -> list[Buffer]:
        slow = {key: self._fetch(key) for key in keys if not self._at_hand(key)}
        payloads = list[Buffer]()
        for key in keys:
            payload = slow[key].result() if key in slow else self._read(key)
            if payload is None:
                break
            payloads.append(payload)
        return payloads

    def prefetch(self, keys: Sequence[Key]) -> "Future[int] | None":
        with self._lock:
            if self._prefetching >= self.config.prefetches_waiting:
                self.dropped_prefetches += 1
                return None
            self._prefetching += 1
        future = self._prefetchers.submit(lambda: len(self.load(keys)))
        future.add_done_callback(self._prefetched)
        return future

    def save(self, stored: Stored, payload: Buffer) -> bool:
        size_bytes, saved = memoryview(payload).nbytes, False
        for at, level in enumerate(self.levels):
            if stored.key in level:
                saved = True
            elif not self._worthwhile(level, stored, size_bytes):
                continue
            elif level.tier.survives:
                saved |= self._write_later(level, stored, None if saved else bytes(payload))
            else:
                saved |= level.write(stored, payload, self._saved_s(at, stored, size_bytes))
        return saved

    def pin(self, keys: Sequence[Key], for_s: float, tenant: str) -> int:
        now_s = self._clock()
        with self._lock:
            sizes = {key: size for key in keys if (size := self._size_bytes(key)) is not None}
            limit_bytes = self.config.pin_share * self.levels[0].config.tenant_bytes(tenant)
            pin = self._pins.add(tenant, sizes, now_s + for_s, limit_bytes, now_s)
            self._apply_pins(list(sizes))
        return pin

    def unpin(self, pin: int) -> None:
        with self._lock:
            self._apply_pins(self._pins.remove(pin))

    def forget(self, tenant: str) -> None:
        """Removes all blocks of a tenant, wherever they are."""
        for level in self.levels:
            for key in level.keys_of(tenant):
                level.drop(key)

    def drain(self, timeout_s: float = 10.0) -> bool:
        """Waits until all that was saved is written; False if that took too long."""
        return self._writers.drain(timeout_s)

    def close(self, timeout_s: float = 10.0) -> None:
        self.drain(timeout_s)
        self._writers.close()
        self._prefetchers.shutdown(cancel_futures=True)
        self._fetchers.shutdown(cancel_futures=True)
        for level in self.levels:
            level.tier.close()

    def stats(self) -> dict[str, float]:
        """Plain numbers, for whoever exports metrics."""
        own = {
            "pins": len(self._pins),
            "writes_waiting": self._writers.waiting,
            "writes_dropped": self.dropped_writes,
            "prefetches_dropped": self.dropped_prefetches,
            "blocks": len(self._holders),
        }
        each = {f"{level.tier.name}.{name}": value for level in self.levels for name, value in level.stats().items()}
        return {name: float(value) for name, value in own.items()} | each

    def held(self) -> list[Key]:
        """All blocks of this node, for a snapshot."""
        with self._lock:
            return list(self._holders)

    def _at_hand(self, key: Key) -> bool:
        return any(key in level for level in self.levels if not level.tier.survives)

    def _fetch(self, key: Key) -> "Future[Buffer | None]":
        """One fetch of a block at a time, whoever asks."""
        with self._lock:
            future = self._fetching.get(key)
            if future is None:
                future = self._fetching[key] = self._fetchers.submit(self._read, key)
                future.add_done_callback(lambda _: self._fetching.pop(key, None))
        return future

    def _read(self, key: Key) -> Buffer | None:
        for at, level in enumerate(self.levels):
            entry = level.entry(key)
            payload = None if entry is None else level.read(key)
            if entry is not None and payload is not None:
                self._promote(at, entry.stored, payload)
                return payload
        return None

    def _promote(self, below: int, stored: Stored, payload: Buffer) -> None:
        for at, level in enumerate(self.levels[:below]):
            if not level.tier.survives and stored.key not in level:
                level.write(stored, payload, self._saved_s(at, stored, memoryview(payload).nbytes))

    def _write_later(self, level: Level, stored: Stored, payload: Buffer | None) -> bool:
        """Without `payload` it is read from where it is by then."""

        def write() -> None:
            data = self._read(stored.key) if payload is None else payload
            if data is not None:
                level.write(stored, data, self._saved_s(self.levels.index(level), stored, memoryview(data).nbytes))

        if self._uses.get(stored.key, 0) < level.config.min_uses:
            return False
        offered = self._writers.offer(write)
        self.dropped_writes += not offered
        return offered

    def _used(self, keys: Sequence[Key]) -> None:
        """What has now been asked for often enough goes to levels that want to see that first."""
        picky = [level for level in self.levels if level.config.min_uses]
        for key in keys if picky else ():
            self._uses[key] = self._uses.get(key, 0) + 1
            for level in picky:
                source = next((entry for each in self.levels if (entry := each.entry(key))), None)
                if source is not None and key not in level and self._uses[key] == level.config.min_uses:
                    self._write_later(level, source.stored, None)

    def _worthwhile(self, level: Level, stored: Stored, size_bytes: int) -> bool:
        """Whether fetching it from there would beat computing it again."""
        return level.fetch_s(size_bytes) < stored.block.cost_s

    def _saved_s(self, at: int, stored: Stored, size_bytes: int) -> float:
        """By a hit in this level: without it, the block would be computed, or fetched from a slower one."""
        slower = [level.fetch_s(size_bytes) for level in self.levels[at + 1 :] if stored.key in level]
        return min([stored.block.cost_s, *slower]) - self.levels[at].fetch_s(size_bytes)

    def _changed(self, key: Key, here: bool) -> None:
        before = self._holders.get(key, 0)
        now = before + (1 if here else -1)
        if now:
            self._holders[key] = now
        else:
            self._holders.pop(key, None)
            self._uses.pop(key, None)
        if self._on_changed is not None and bool(before) != bool(now):
            self._on_changed([key] if here else [], [] if here else [key])
        for at, level in enumerate(self.levels):
            entry = level.entry(key)
            if entry is not None:
                level.reprice(key, self._saved_s(at, entry.stored, entry.size_bytes))
        if here and self._pins.until_s(key) > self._clock():
            self._apply_pins([key])

    def _apply_pins(self, keys: list[Key]) -> None:
        for key in keys:
            for level in self.levels:
                level.pin([key], self._pins.until_s(key))

    def _size_bytes(self, key: Key) -> int | None:
        return next((entry.takes_bytes for level in self.levels if (entry := level.entry(key)) is not None), None)

    def _prefetched(self, _: "Future[int]") -> None:
        with self._lock:
            self._prefetching -= 1

    def _recover(self, level: Level) -> None:
        def recover() -> None:
            at = self.levels.index(level)
            try:
                level.recover(lambda stored, size_bytes: self._saved_s(at, stored, size_bytes))
            except CacheError as error:
                _log.warning("%s; what it holds is not known", error)

        if level.tier.remote:
            self._writers.offer(recover)
        else:
            recover()
