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


class Kernel:
    """`reached` is the highest rank among the events of this very tick that have been dealt with: what lies at the
    same tick with a rank up to it is past."""

    __slots__ = ("_heap", "_scheduled", "events", "now", "reached", "stopped")

    def __init__(self) -> None:
        self.now = 0
        self.reached = 0
        self.events = 0
        self.stopped = False
        self._heap: list[tuple[int, int, Callable[[Any], None], Any]] = []
        self._scheduled = 0

    def at(self, time: int, rank: int, act: Callable[[Any], None], argument: Any = None) -> None:
        """Calls `act(argument)` at `time`, which is not before now."""
        self._scheduled += 1
        heappush(self._heap, (time, rank << _RANK_SHIFT | self._scheduled, act, argument))

    def run(self) -> None:
        """Until nothing is left to do, or `stopped` is set."""
        heap, now = self._heap, self.now
        while heap and not self.stopped:
            time, order, act, argument = heappop(heap)
            rank = order >> _RANK_SHIFT
            if time != now:
                self.now = now = time
                self.reached = rank
            elif rank > self.reached:
                self.reached = rank
            self.events += 1
            act(argument)
