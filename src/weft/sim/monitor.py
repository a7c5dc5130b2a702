"""Looks at the fleet at equal intervals: samples for the figures, and whether queues grow without bound."""

from dataclasses import dataclass
from itertools import pairwise

from weft.core.summary import Overload
from weft.sim.fleet import Fleet
from weft.sim.kernel import Kernel, seconds
from weft.sim.recorder import Recorder
from weft.sim.timeline import Sample, Samples
from weft.sim.walk import Walk

WINDOWS = 8
"""An overload is seen in so many windows in a row, together half of the time so far."""

LEAST_ARRIVALS, LEAST_S = 1000, 30.0
"""Before so many arrivals, or over less time, a burst is no overload."""


@dataclass
class Monitor:
    """`stop_overload`: ends the simulation when it is overloaded, with the evidence in `overload`."""

    kernel: Kernel
    fleet: Fleet
    walk: Walk
    recorder: Recorder
    samples: Samples
    stop_overload: bool = True
    overload: Overload | None = None

    def __post_init__(self) -> None:
        llm = [len(pool.replicas) * pool.pool.batch_limit for pool in self.fleet.llm.values()]
        self.places = sum(llm) + sum(station.cores for station in self.fleet.cpu.values())

    def look(self, _: None) -> None:
        self.samples.add(self._sample())
        self.recorder.fold()
        if self.stop_overload and (found := self._overload()) is not None:
            self.overload = found
            self.kernel.stop()
        elif self.walk.expecting or self.walk.in_system:
            self.kernel.at(self.kernel.now + self.samples.interval, 0, self.look)

    def _sample(self) -> Sample:
        running, waiting, used = list[int](), list[int](), list[float]()
        for pool in self.fleet.llm.values():
            batchers = [replica.batcher for replica in pool.replicas if replica.alive]
            running.append(sum(batcher.running for batcher in batchers))
            waiting.append(sum(batcher.waiting for batcher in batchers) + len(pool.parked))
            blocks = sum(batcher.pool.blocks for batcher in batchers)
            used.append(sum(batcher.pool.allocated for batcher in batchers) / max(1, blocks))
        for station in self.fleet.cpu.values():
            running.append(station.cores - station.free)
            waiting.append(station.waiting)
            used.append(0.0)
        walk = self.walk
        return Sample(self.kernel.now, walk.started, walk.ended, tuple(running), tuple(waiting), tuple(used))

    def _overload(self) -> Overload | None:
        """More is in the system than it has places for, by far, and it grew in every window of the later half."""
        kept, walk = self.samples.kept, self.walk
        if walk.in_system <= 2 * self.places + LEAST_ARRIVALS / 10 or walk.started < LEAST_ARRIVALS:
            return None
        half = len(kept) // 2
        if half < WINDOWS or seconds(kept[-1].at - kept[half].at) < LEAST_S:
            return None
        marks = [kept[half + (len(kept) - 1 - half) * at // WINDOWS] for at in range(WINDOWS + 1)]
        inside = [mark.arrived - mark.ended for mark in marks]
        if any(later <= earlier for earlier, later in pairwise(inside)):
            return None
        return self._evidence(marks[0], marks[-1])

    def _evidence(self, first: Sample, last: Sample) -> Overload:
        window_s = seconds(last.at - first.at)
        names = [*self.fleet.llm, *self.fleet.cpu]
        longest = max(range(len(names)), key=lambda at: last.waiting[at])
        return Overload(
            at_s=seconds(last.at),
            window_s=window_s,
            arrived_per_s=(last.arrived - first.arrived) / window_s,
            ended_per_s=(last.ended - first.ended) / window_s,
            in_system=last.arrived - last.ended,
            places=self.places,
            pool=names[longest],
            waiting=last.waiting[longest],
        )
