"""Time series of bounded length: bins and samples that double their width when there would be too many."""

from dataclasses import dataclass

from weft.sim.kernel import TICKS_PER_S

BINS = 256


class BusyBins:
    """How much of each bin of time something was busy."""

    __slots__ = ("total", "values", "width")

    def __init__(self) -> None:
        self.width = TICKS_PER_S // 4
        self.values = [0] * BINS
        self.total = 0

    def add(self, begins: int, ends: int) -> None:
        self.total += ends - begins
        while ends > self.width * BINS:
            self._widen()
        width, values = self.width, self.values
        at = begins // width
        while begins < ends:
            border = min(ends, (at + 1) * width)
            values[at] += border - begins
            begins, at = border, at + 1

    def _widen(self) -> None:
        self.values = [a + b for a, b in zip(self.values[::2], self.values[1::2], strict=True)] + [0] * (BINS // 2)
        self.width *= 2

    def shares(self, until: int, width: int) -> list[float]:
        """Of each bin up to `until`, bins of `width`, at which others are."""
        while self.width < width:
            self._widen()
        bins = min(BINS, -(-until // self.width))
        return [value / min(self.width, until - at * self.width) for at, value in enumerate(self.values[:bins])]


@dataclass(frozen=True, slots=True)
class Sample:
    """The fleet at one moment. By pool: sequences or jobs that run, that wait, and the share of KV blocks held."""

    at: int
    arrived: int
    ended: int
    running: tuple[int, ...]
    waiting: tuple[int, ...]
    kv_used: tuple[float, ...]


class Samples:
    """Every `interval` ticks one, at most 2 · BINS."""

    def __init__(self) -> None:
        self.interval = TICKS_PER_S // 4
        self.kept: list[Sample] = []

    def add(self, sample: Sample) -> None:
        self.kept.append(sample)
        if len(self.kept) >= 2 * BINS:
            self.kept = self.kept[1::2]
            self.interval *= 2
