"""A place for KV caches below a replica's device: its host's memory, or a disk. Bytes go in and out one way each."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from weft.core.errors import InputError
from weft.core.units import GIGA
from weft.sim.kernel import TICKS_PER_S, Kernel, seconds, ticks

_TIER = re.compile(r"(?P<size>[\d.]+)(?P<unit>[MGT])B@(?P<rate>[\d.]+)GB/s(?:\+(?P<latency>[\d.]+)ms)?$")
_BYTES = {"M": 1e6, "G": GIGA, "T": 1e12}


@dataclass(frozen=True, slots=True)
class TierTerms:
    """Of one replica: what it has room for, how fast it is each way, and what is added to every move."""

    bytes: float
    bytes_per_s: float
    latency_s: float = 0.0


def parse_tier(text: str) -> TierTerms:
    """`256GB@50GB/s`, or with what each move takes besides: `4TB@6GB/s+0.2ms`."""
    found = _TIER.match(text)
    if not found or not float(found["rate"]) or not float(found["size"]):
        way_out = "write SIZE@RATE of one replica, with +LATENCY if it counts (256GB@50GB/s, 4TB@6GB/s+0.2ms)"
        raise InputError(subject=f"--tier {text!r}", problem="cannot be read", way_out=way_out)
    size = float(found["size"]) * _BYTES[found["unit"]]
    return TierTerms(size, float(found["rate"]) * GIGA, float(found["latency"] or 0.0) / 1e3)


class Tier:
    """First come first served, in and out apart. `used` bytes are taken, `most` were."""

    __slots__ = ("_free_at", "_kernel", "_latency", "_ticks_per_byte", "most", "terms", "used")

    def __init__(self, kernel: Kernel, terms: TierTerms) -> None:
        self._kernel = kernel
        self._free_at = {"in": 0, "out": 0}
        self._latency = ticks(terms.latency_s)
        self._ticks_per_byte = TICKS_PER_S / terms.bytes_per_s
        self.terms = terms
        self.used = self.most = 0

    def has_room(self, size: int) -> bool:
        return self.used + size <= self.terms.bytes

    def take(self, size: int) -> None:
        """Negative: gives back."""
        self.used += size
        self.most = max(self.most, self.used)

    def move_s(self, way: str, size: int) -> float:
        """Until the last byte is there, were it asked now."""
        return seconds(self._ends(way, size) + self._latency - self._kernel.now)

    def move(self, way: str, size: int, moved: Callable[[Any], None], argument: Any) -> int:
        """`way`: in (from the device) or out. Returns the ticks that it takes."""
        ends = self._free_at[way] = self._ends(way, size)
        self._kernel.at(ends + self._latency, 0, moved, argument)
        return ends + self._latency - self._kernel.now

    def _ends(self, way: str, size: int) -> int:
        return max(self._kernel.now, self._free_at[way]) + round(size * self._ticks_per_byte)
