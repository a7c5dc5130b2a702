"""Which blocks of its model a node holds, on its device and in the tiers below, for whoever wants to know: a router."""

import threading
import time
from collections.abc import Sequence
from typing import Self

from weft.policy.prefix_feed import Announcer, Snapshot, Update
from weft.runtime.cache.names import Key


class HeldPrefixes:
    """Any thread may call. `space`: only these blocks of the tiers are the model's."""

    def __init__(self, block_size: int = 16) -> None:
        self.block_size = block_size
        self.space = ""
        self._device: set[int] = set()
        self._below: set[int] = set()
        self._watches: set[Watch] = set()
        self._lock = threading.Lock()

    def on_device(self, hashes: Sequence[int]) -> int:
        """How many of them from the first on."""
        return next((at for at, hash_ in enumerate(hashes) if hash_ not in self._device), len(hashes))

    def is_below(self, hash_: int) -> bool:
        return hash_ in self._below

    def device_gained(self, hashes: Sequence[int]) -> None:
        self._change(self._device, hashes, ())

    def device_lost(self, hashes: Sequence[int]) -> None:
        self._change(self._device, (), hashes)

    def below_changed(self, added: Sequence[Key], removed: Sequence[Key]) -> None:
        """Fits the cache manager's listener."""
        came, went = ([hash_ for space, hash_ in keys if space == self.space] for keys in (added, removed))
        self._change(self._below, came, went)

    def watch(self, node: str) -> "Watch":
        with self._lock:
            watch = Watch(self, node, self._device | self._below)
            self._watches.add(watch)
        return watch

    def forget(self, watch: "Watch") -> None:
        with self._lock:
            self._watches.discard(watch)

    def _change(self, where: set[int], added: Sequence[int], removed: Sequence[int]) -> None:
        with self._lock:
            other = self._below if where is self._device else self._device
            came = [hash_ for hash_ in added if hash_ not in where and hash_ not in other]
            went = [hash_ for hash_ in removed if hash_ in where and hash_ not in other]
            where.update(added)
            where.difference_update(removed)
            for watch in self._watches:
                watch.changed(came, went)


class Watch:
    """One watcher's numbered updates (policy.prefix_feed). A later one of the same node has a larger epoch."""

    def __init__(self, held: HeldPrefixes, node: str, now: set[int]) -> None:
        self._held = held
        self._announcer = Announcer(node, time.time_ns())
        self._announcer.changed(list(now), ())
        self._announcer.update()  # all of it is in the snapshot
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._held.forget(self)

    @property
    def pending(self) -> int:
        return self._announcer.pending

    def changed(self, added: Sequence[int], removed: Sequence[int]) -> None:
        with self._lock:
            self._announcer.changed(added, removed)

    def snapshot(self) -> Snapshot:
        with self._lock:
            return self._announcer.snapshot()

    def update(self) -> Update:
        with self._lock:
            return self._announcer.update()
