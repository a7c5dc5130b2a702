"""Links as shared resources: a transfer waits for its sender's port, its receiver's and, between zones, the one path.

First come first served: a transfer has the whole rate of the link from when all three are free until its last byte has
left; the link's latency is added after that and holds nothing up. Inside a zone every replica has one port each way, as
the adapters of a node have; between two zones all transfers of a direction share one path.
"""

from collections.abc import Callable
from typing import Any

from weft.core.hardware import Link
from weft.sim.kernel import TICKS_PER_S, Kernel, ticks


class Wires:
    """All transfers over one link of the catalogue. `busy_ticks` adds up the time that bytes were on their way."""

    __slots__ = (
        "_free_at",
        "_kernel",
        "_latency",
        "_ticks_per_byte",
        "busy_ticks",
        "bytes_moved",
        "link",
        "transfers",
        "waited",
    )

    def __init__(self, kernel: Kernel, link: Link) -> None:
        self._kernel = kernel
        self._free_at: dict[tuple[str, str], int] = {}
        self._latency = ticks(link.latency_s)
        self._ticks_per_byte = TICKS_PER_S / link.bytes_per_s
        self.busy_ticks = 0
        self.bytes_moved = 0
        self.link = link
        self.transfers = 0
        self.waited = 0

    def backlog(self, source: str, target: str) -> int:
        """Ticks that what is queued between two zones still takes."""
        return max(0, self._free_at.get((source, target), 0) - self._kernel.now)

    def send(
        self, source: tuple[str, str], target: tuple[str, str], size: int, arrived: Callable[[Any], None], argument: Any
    ) -> None:
        """`source` and `target` are (zone, replica)."""
        held = [("out", source[1]), ("in", target[1])]
        if source[0] != target[0]:
            held.append((source[0], target[0]))
        now, free_at = self._kernel.now, self._free_at
        begins = max(now, *(free_at.get(port, 0) for port in held))
        lasts = round(size * self._ticks_per_byte)
        free_at.update(dict.fromkeys(held, begins + lasts))
        self.busy_ticks += lasts
        self.bytes_moved += size
        self.transfers += 1
        self.waited += begins - now
        self._kernel.at(begins + lasts + self._latency, 0, arrived, argument)
