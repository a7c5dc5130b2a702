"""Distributions in bounded memory: every value up to a million, then counts in bins 0.2 % wide."""

import math
from array import array
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from weft.core.summary import Spread
from weft.sim.kernel import TICKS_PER_S

EXACT = 1_000_000
BIN = 1.002
"""Ratio of a bin's edges: a percentile read from bins is off by at most half of it."""


class Column:
    """Whole numbers (ticks), not negative. `append` is the array's own; `fold` now and then keeps it short."""

    __slots__ = ("_bins", "_count", "_largest", "_sum", "append", "values")

    def __init__(self) -> None:
        self.values = array("q")
        self.append = self.values.append
        self._bins: NDArray[np.int64] | None = None
        self._count = 0
        self._sum = 0.0
        self._largest = 0

    def __len__(self) -> int:
        return self._count + len(self.values)

    def fold(self) -> None:
        """Into bins, once there are too many to keep."""
        if len(self.values) < (EXACT if self._bins is None else EXACT // 10):
            return
        values = np.array(self.values, dtype=np.int64)
        del self.values[:]
        self._bins = _counted(values, self._bins)
        self._count += values.size
        self._sum += float(values.sum(dtype=np.float64))
        self._largest = max(self._largest, int(values.max()))

    def spread(self) -> Spread:
        """In seconds."""
        if len(self) == 0:
            return Spread(0, 0.0, 0.0, 0.0, 0.0, 0.0)
        values = np.array(self.values, dtype=np.float64)
        largest = max(float(values.max()) if values.size else 0.0, float(self._largest))
        mean = (float(values.sum()) + self._sum) / len(self)
        p50, p90, p99 = self.quantiles((0.5, 0.9, 0.99))
        error = 0.0 if self._bins is None else (BIN - 1) / 2
        return Spread(len(self), mean / TICKS_PER_S, p50, p90, p99, largest / TICKS_PER_S, error)

    def quantiles(self, shares: Sequence[float]) -> list[float]:
        """In seconds, for each share the smallest value that so many are not above."""
        values = np.sort(np.array(self.values, dtype=np.int64))
        if self._bins is None:
            places = [max(0, math.ceil(share * values.size) - 1) for share in shares]
            return [float(values[place]) / TICKS_PER_S for place in places]
        sums = np.cumsum(_counted(values, self._bins))
        bins = [int(np.searchsorted(sums, math.ceil(share * float(sums[-1])))) for share in shares]
        return [BIN ** (at - 0.5) / TICKS_PER_S for at in bins]


def _counted(values: NDArray[np.int64], bins: NDArray[np.int64] | None) -> NDArray[np.int64]:
    """Counts by bin, those of `bins` among them."""
    places = np.ceil(np.log(np.maximum(values, 1)) / np.log(BIN)).astype(np.int64)
    counts = np.bincount(places, minlength=0 if bins is None else bins.size).astype(np.int64)
    if bins is not None:
        counts[: bins.size] += bins
    return counts
