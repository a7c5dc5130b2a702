"""Large receive buffers that are used again: filling fresh memory costs more in page faults than the copy itself.

A buffer is lent as a memoryview and comes back by itself once the last view of it (numpy arrays, torch tensors and
slices included) has gone.
"""

import mmap
import os
import threading
import weakref
from collections import deque
from collections.abc import Callable, Sequence

import numpy as np

from weft.runtime.transport.base import Buffer

POOLED_BYTES = 1024**2  # smaller buffers are cheap to make
KEPT_BYTES = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 16
"""Of idle memory. A cache that is held whole while it is imported should find its buffers warm the next time."""


class BufferPool:
    def __init__(self, kept_bytes: int = KEPT_BYTES) -> None:
        self._kept_bytes = kept_bytes
        self._free: dict[int, list[mmap.mmap]] = {}
        self._free_bytes = 0
        self._returned: deque[mmap.mmap] = deque()  # finalizers may run in any thread, and while we hold the lock
        self._lock = threading.Lock()

    @property
    def idle_bytes(self) -> int:
        with self._lock:
            self._take_back()
            return self._free_bytes

    def lend(self, size: int) -> memoryview:
        """Room for `size` bytes, with whatever they held before."""
        if size < POOLED_BYTES:
            return memoryview(bytearray(size))
        size_class = class_of(size)
        with self._lock:
            self._take_back()
            free = self._free.get(size_class)
            if free:
                self._free_bytes -= size_class
        region = free.pop() if free else _fresh(size_class)
        return lent(region, size, self._returned.append)

    def _take_back(self) -> None:
        """What would be more than is kept goes back to the system."""
        while self._returned:
            region = self._returned.popleft()
            if self._free_bytes + len(region) <= self._kept_bytes:
                self._free.setdefault(len(region), []).append(region)
                self._free_bytes += len(region)


def class_of(size: int) -> int:
    """The next power of two: few sizes, so that buffers fit again. Pages that nobody touches cost nothing."""
    return max(POOLED_BYTES, 1 << (size - 1).bit_length())


def lent(region: mmap.mmap, size: int, give_back: Callable[[mmap.mmap], object]) -> memoryview:
    """A view of `region` that gives it back when the last thing made from the view has gone."""
    array = np.frombuffer(region, np.uint8)
    weakref.finalize(array, give_back, region).atexit = False
    return array.data[:size]


def fill(target: np.ndarray, parts: Sequence[Buffer]) -> None:
    """The parts one after the other, at the start of `target`."""
    start = 0
    for part in parts:
        source = np.frombuffer(part, np.uint8)
        np.copyto(target[start : start + len(source)], source)
        start += len(source)


def _fresh(size: int) -> mmap.mmap:
    region = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    if hasattr(mmap, "MADV_HUGEPAGE"):
        region.madvise(mmap.MADV_HUGEPAGE)  # 512 times fewer page faults where the system grants it
    return region
