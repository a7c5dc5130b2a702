"""One tier with its index: what it holds, whose it is, what goes first when it is full, and whether it can be asked."""

import logging
import math
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple, TypeVar

from weft.core.errors import CacheError, CapacityError, TierFullError
from weft.policy.block_value import HALF_LIFE_S, EvictionOrder
from weft.policy.circuit import Circuit, CircuitConfig
from weft.runtime.cache.base import Buffer, Tier
from weft.runtime.cache.envelope import Sealer, unwrap, wrap
from weft.runtime.cache.names import Key, Stored, parse_name

T = TypeVar("T")

_log = logging.getLogger(__name__)

_RATE_WEIGHT = 0.1  # of a new measurement
_LEAST_TIMED_BYTES = 4096
_UNREMOVED, _RETRIED = 100_000, 8
_WHEN_FULL, _FULL_S = 0.95, 30.0


@dataclass(frozen=True, slots=True)
class LevelConfig:
    """`bytes_per_s` is a first guess, measured from then on; `latency_s` is what a fetch takes before its first byte.

    `min_uses`: how often a block must have been asked for before it is written here. `share`: of the capacity, that one
    tenant may fill (`shares`: some tenants' own).
    """

    capacity_bytes: int
    bytes_per_s: float
    latency_s: float = 0.0
    min_uses: int = 0
    share: float = 1.0
    shares: Mapping[str, float] = field(default_factory=dict[str, float])
    half_life_s: float = HALF_LIFE_S
    circuit: CircuitConfig = field(default_factory=CircuitConfig)

    def __post_init__(self) -> None:
        shares = (self.share, *self.shares.values())
        if self.capacity_bytes < 1 or not self.bytes_per_s > 0 or not all(0 <= share <= 1 for share in shares):
            raise CapacityError(
                subject="cache level",
                problem=f"{self.capacity_bytes} bytes at {self.bytes_per_s} bytes/s, shares {sorted(set(shares))}",
                way_out="give positive sizes and rates, and shares from 0 to 1",
            )

    def tenant_bytes(self, tenant: str) -> int:
        return int(self.shares.get(tenant, self.share) * self.capacity_bytes)


@dataclass(slots=True)
class Counts:
    """Since the start. `refused`: no room that the tenant may take; `broken`: dropped for what was found in it."""

    written: int = 0
    written_bytes: int = 0
    read: int = 0
    read_bytes: int = 0
    evicted: int = 0
    refused: int = 0
    broken: int = 0
    failed: int = 0


class Entry(NamedTuple):
    stored: Stored
    size_bytes: int
    takes_bytes: int


Changed = Callable[[Key, bool], None]
"""A block came (True) or went; called with the lock held."""


class Level:
    def __init__(
        self,
        tier: Tier,
        config: LevelConfig,
        keys: Sealer | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.tier = tier
        self.config = config
        self.counts = Counts()
        self.used_bytes = 0
        self.lock = threading.RLock()  # the manager gives all its levels one
        self.on_changed: Changed = _nothing
        self._keys = keys
        self._clock = clock
        self._full_bytes, self._full_until_s = 0, -math.inf
        self._entries: dict[Key, Entry] = {}
        self._writing: set[Key] = set()
        self._unremoved: deque[Stored] = deque(maxlen=_UNREMOVED)
        self._order: EvictionOrder[Key] = EvictionOrder(config.half_life_s)
        self._tenants: dict[str, int] = {}
        self._circuit = Circuit(config.circuit)
        self._s_per_byte = 1 / config.bytes_per_s

    def __contains__(self, key: Key) -> bool:
        return key in self._entries and key not in self._writing

    def entry(self, key: Key) -> Entry | None:
        return self._entries.get(key)

    @property
    def reachable(self) -> bool:
        return not self._circuit.blocks(self._clock())

    def fetch_s(self, size_bytes: int) -> float:
        """Of one block among many, after the first byte."""
        return size_bytes * self._s_per_byte

    def write(self, stored: Stored, payload: Buffer, saved_s: float) -> bool:
        """False where it has no room for it, or cannot be asked."""
        if stored.key in self._entries or not self._circuit.allows(self._clock()):
            return False
        parts = wrap(stored.name, payload, self._keys) if self.tier.survives else (payload,)
        size_bytes = sum(memoryview(part).nbytes for part in parts)
        if not self._admit(stored, size_bytes, saved_s):
            return False
        done = self._try(lambda: self.tier.put(stored.name, parts) or True)
        with self.lock:
            self._writing.discard(stored.key)
            here = done is not None and stored.key in self._entries
            if here:
                self.counts.written += 1
                self.counts.written_bytes += size_bytes
                self.on_changed(stored.key, True)
            else:
                self._forget(stored.key, told=False)
        if here:
            self._retry_removals()
        elif done:  # it was displaced meanwhile
            self._remove(stored)
        return here

    def read(self, key: Key) -> Buffer | None:
        """None if it is not there, not sound, or cannot be had now."""
        entry = self._entries.get(key) if key in self else None
        if entry is None or not self._circuit.allows(self._clock()):
            return None
        began_s = time.perf_counter()
        found = self._try(lambda: (self.tier.get(entry.stored.name),))
        if found is None:
            return None
        if found[0] is None:
            self.drop(key)
            return None
        payload = self._unwrap(entry, found[0])
        if payload is not None:
            self._timed(entry.size_bytes, time.perf_counter() - began_s)
        return payload

    def drop(self, key: Key) -> None:
        with self.lock:
            entry = self._forget(key)
        if entry is not None:
            self._remove(entry.stored)

    def use(self, keys: list[Key]) -> None:
        with self.lock:
            self._order.use(keys, self._clock())

    def pin(self, keys: list[Key], until_s: float) -> None:
        """`until_s` in the past: no longer."""
        with self.lock:
            self._order.unpin(keys)
            self._order.pin(keys, until_s)

    def reprice(self, key: Key, saved_s: float) -> None:
        entry = self._entries.get(key)
        if entry is not None:
            self._order.reprice(key, entry.takes_bytes, saved_s)

    def recover(self, saved_s: Callable[[Stored, int], float]) -> int:
        """Indexes what survived, by its names alone; how many blocks that is. CacheError if it cannot be listed."""
        strange = 0
        for name, size_bytes in self.tier.scan():
            stored = parse_name(name)
            if stored is None:
                strange += 1
                continue
            with self.lock:
                held = stored.key in self._entries
                if not held and self._admit(stored, size_bytes, saved_s(stored, size_bytes)):
                    self._writing.discard(stored.key)
                    self.on_changed(stored.key, True)
                    continue
            self.tier.remove(name)
        if strange:
            _log.warning("%s holds %d things that are no blocks: they are left alone", self.tier.name, strange)
        return len(self._entries)

    def stats(self) -> dict[str, float]:
        """Plain numbers, for whoever exports metrics."""
        counted = {name: float(getattr(self.counts, name)) for name in Counts.__slots__}
        return counted | {
            "blocks": float(len(self._entries)),
            "bytes": float(self.used_bytes),
            "limit_bytes": float(self._limit_bytes(self._clock())),
            "bytes_per_s": 1 / self._s_per_byte,
            "circuit_opened": float(self._circuit.opened),
            "circuit_open": float(self._circuit.is_open),
        }

    def tenant_bytes(self, tenant: str) -> int:
        return self._tenants.get(tenant, 0)

    def keys_of(self, tenant: str) -> list[Key]:
        with self.lock:
            return [key for key, entry in self._entries.items() if entry.stored.block.tenant == tenant]

    def _admit(self, stored: Stored, size_bytes: int, saved_s: float) -> bool:
        """Enters it, as being written, and takes out whom it displaces; False if it would go first itself."""
        entry, tenant = Entry(stored, size_bytes, self.tier.takes(size_bytes)), stored.block.tenant
        now_s, victims, admitted = self._clock(), list[Entry](), True
        with self.lock:
            if stored.key in self._entries:
                return False
            self._enter(entry, saved_s, now_s)
            while admitted and (
                (own := self.tenant_bytes(tenant) > self.config.tenant_bytes(tenant))
                or self.used_bytes > self._limit_bytes(now_s)
            ):
                victim = self._order.victim(now_s, tenant if own else None)
                admitted = victim is not None and victim != stored.key
                gone = self._forget(victim if victim is not None and admitted else stored.key)
                if admitted and gone is not None:
                    victims.append(gone)
            self.counts.evicted += len(victims)
            self.counts.refused += not admitted
        for victim in victims:
            self._remove(victim.stored)
        return admitted

    def _limit_bytes(self, now_s: float) -> int:
        """Less than its capacity for a while after it turned out to be full."""
        return self._full_bytes if now_s < self._full_until_s else self.config.capacity_bytes

    def _enter(self, entry: Entry, saved_s: float, now_s: float) -> None:
        stored, tenant = entry.stored, entry.stored.block.tenant
        self._entries[stored.key] = entry
        self._writing.add(stored.key)
        self._order.add(stored.key, stored.parent, tenant, entry.takes_bytes, saved_s, now_s)
        self.used_bytes += entry.takes_bytes
        self._tenants[tenant] = self._tenants.get(tenant, 0) + entry.takes_bytes

    def _forget(self, key: Key, *, told: bool = True) -> Entry | None:
        """`told`: whether it counts as here; not while it is being written."""
        entry = self._entries.pop(key, None)
        if entry is not None:
            tenant = entry.stored.block.tenant
            self._order.remove(key)
            self.used_bytes -= entry.takes_bytes
            self._tenants[tenant] -= entry.takes_bytes
            if not self._tenants[tenant]:
                del self._tenants[tenant]
            if told and key not in self._writing:
                self.on_changed(key, False)
        return entry

    def _try(self, work: Callable[[], T]) -> T | None:
        """None where the tier failed: that is counted, and after a few times it is left alone for a while."""
        try:
            done = work()
        except TierFullError as error:
            self._is_full(error)
            return None
        except CacheError as error:
            with self.lock:
                self.counts.failed += 1
                was_open = self._circuit.is_open
                self._circuit.failed(self._clock())
            if self._circuit.is_open and not was_open:
                _log.warning("%s; it is left alone for a while", error)
            return None
        self._circuit.succeeded()
        return done

    def _remove(self, stored: Stored) -> None:
        """What cannot be removed now is tried again later, and is in the index again after a restart."""
        if self._try(lambda: self.tier.remove(stored.name) or True) is None:
            self._unremoved.append(stored)

    def _retry_removals(self) -> None:
        with self.lock:
            left = [self._unremoved.popleft() for _ in range(min(_RETRIED, len(self._unremoved)))]
        for stored in left:
            if stored.key not in self._entries:
                self._remove(stored)

    def _is_full(self, error: TierFullError) -> None:
        """Somebody else fills it: no more than now is kept, so that new blocks displace old ones."""
        with self.lock:
            self.counts.failed += 1
            now_s = self._clock()
            if now_s >= self._full_until_s:
                _log.warning("%s", error)
            self._full_bytes, self._full_until_s = int(_WHEN_FULL * self.used_bytes), now_s + _FULL_S

    def _unwrap(self, entry: Entry, data: Buffer) -> Buffer | None:
        try:
            payload = unwrap(entry.stored.name, data, self._keys) if self.tier.survives else data
        except CacheError as error:
            _log.warning("%s: %s", self.tier.name, error)
            self.drop(entry.stored.key)
            self.counts.broken += 1
            return None
        self.counts.read += 1
        self.counts.read_bytes += entry.size_bytes
        return payload

    def _timed(self, size_bytes: int, took_s: float) -> None:
        if size_bytes >= _LEAST_TIMED_BYTES:
            self._s_per_byte += _RATE_WEIGHT * (took_s / size_bytes - self._s_per_byte)


def _nothing(_key: Key, _here: bool) -> None: ...
