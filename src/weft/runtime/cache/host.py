"""Blocks in the host's memory: a fixed arena of small pages, so that blocks of any size leave no gaps between them."""

import threading
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from weft.core.errors import CapacityError, TierFullError
from weft.runtime.cache.base import Buffer

PAGE_BYTES = 64 * 1024


class HostTier:
    """Memory is taken from the system as pages are first used, and kept."""

    name = "host"
    remote = False
    survives = False

    def __init__(self, capacity_bytes: int, page_bytes: int = PAGE_BYTES) -> None:
        if page_bytes < 1 or capacity_bytes < page_bytes:
            problem = f"{capacity_bytes} bytes in pages of {page_bytes}"
            raise CapacityError(subject="host tier", problem=problem, way_out="give room for one page at least")
        self._pages = np.empty((capacity_bytes // page_bytes, page_bytes), np.uint8)
        self._free = list(range(len(self._pages) - 1, -1, -1))
        self._held: dict[str, tuple[NDArray[np.intp], int]] = {}
        self._lock = threading.Lock()

    def takes(self, size_bytes: int) -> int:
        width = self._pages.shape[1]
        return -(-size_bytes // width) * width

    def put(self, name: str, parts: Sequence[Buffer]) -> None:
        views = [np.frombuffer(part, np.uint8) for part in parts]
        size = sum(len(view) for view in views)
        whole = views[0] if len(views) == 1 else np.concatenate(views)
        width = self._pages.shape[1]
        pages = self._take(-(-size // width))
        full = size // width
        self._pages[pages[:full]] = whole[: full * width].reshape(full, width)
        if full < len(pages):
            self._pages[pages[full], : size - full * width] = whole[full * width :]
        with self._lock:
            before = self._held.pop(name, None)
            self._held[name] = (pages, size)
            self._give_back(before)

    def get(self, name: str) -> Buffer | None:
        """A copy: its pages may be another's at any time."""
        while True:
            held = self._held.get(name)
            if held is None:
                return None
            pages, size = held
            whole = self._pages[pages]
            if self._held.get(name) is held:  # else it was removed, or put again, while it was read
                return whole.reshape(-1)[:size].data

    def remove(self, name: str) -> None:
        with self._lock:
            self._give_back(self._held.pop(name, None))

    def scan(self) -> Iterator[tuple[str, int]]:
        for name, (_, size) in list(self._held.items()):
            yield name, size

    def close(self) -> None: ...

    def _take(self, count: int) -> NDArray[np.intp]:
        with self._lock:
            if count > len(self._free):
                width = self._pages.shape[1]
                problem = f"{count * width} bytes asked, {len(self._free) * width} free"
                raise TierFullError(subject="host tier", problem=problem, way_out="let it evict first")
            at = len(self._free) - count
            pages = np.array(self._free[at:], np.intp)
            del self._free[at:]
        return pages

    def _give_back(self, held: tuple[NDArray[np.intp], int] | None) -> None:
        if held is not None:
            self._free.extend(held[0].tolist())
