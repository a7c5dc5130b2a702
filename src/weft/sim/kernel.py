"""Virtual time: a heap of events, whole ticks, and an order of ties that does not depend on how events came about.

Time is an integer number of picoseconds, so that a run of equal steps added up at once ends exactly where the same
steps added one by one do. Events of equal time go by rank (0: arrivals, deliveries and ends of CPU work; from 1 on: the
step borders of replicas), then in order of scheduling.
"""

from collections.abc import Callable
from heapq import heappop, heappush
from typing import Any

TICKS_PER_S = 10**12
_RANK_SHIFT = 44
"""Room for 1.7e13 events of one rank."""


def ticks(seconds: float) -> int:
    return round(seconds * TICKS_PER_S)


def seconds(time: int) -> float:
    return time / TICKS_PER_S


def rank(index: int) -> int:
    """What `Kernel.at` takes for the `index`-th replica, from 1 on; 0 for everything else."""
    return index << _RANK_SHIFT


class Kernel:
    """`reached` is the highest rank among the events of this very tick that have been dealt with: what lies at the
    same tick with a rank up to it is past."""

    __slots__ = ("_heap", "_left_out", "now", "reached", "scheduled", "stopped")

    def __init__(self) -> None:
        self.now = 0
        self.reached = 0
        self.stopped = False
        self.scheduled = 0
        self._left_out = 0
        self._heap: list[tuple[int, int, Callable[[Any], None], Any]] = []

    def at(self, time: int, rank: int, act: Callable[[Any], None], argument: Any = None) -> None:
        """Calls `act(argument)` at `time`, which is not before now."""
        self.scheduled += 1
        heappush(self._heap, (time, rank + self.scheduled, act, argument))

    def run(self) -> None:
        """Until nothing is left to do."""
        heap, now = self._heap, self.now
        while heap:
            time, order, act, argument = heappop(heap)
            if time != now:
                self.now = now = time
                self.reached = order
            elif order > self.reached:
                self.reached = order
            act(argument)

    def stop(self) -> None:
        """Whatever is still to come does not."""
        self.stopped = True
        self._left_out += len(self._heap)
        self._heap.clear()

    @property
    def events(self) -> int:
        """Dealt with so far."""
        return self.scheduled - self._left_out - len(self._heap)
