"""CPU work: the cores of a pool as one queue, first come first served."""

from collections import deque
from collections.abc import Callable
from typing import Any

from weft.sim.kernel import Kernel

Done = Callable[[Any], None]


class Station:
    """`cores` run one job each. `busy_ticks` adds up what was worked, job by job as they start."""

    __slots__ = ("_kernel", "_waiting", "busy_ticks", "cores", "free", "name")

    def __init__(self, kernel: Kernel, name: str, cores: int) -> None:
        self._kernel = kernel
        self._waiting: deque[tuple[int, Done, Any]] = deque()
        self.busy_ticks = 0
        self.cores = cores
        self.free = cores
        self.name = name

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    def submit(self, duration: int, done: Done, argument: Any) -> None:
        if self.free > 0:
            self._begin(duration, done, argument)
        else:
            self._waiting.append((duration, done, argument))

    def add(self, cores: int) -> None:
        """More cores, or fewer: those that work finish what they do."""
        self.cores += cores
        self.free += cores
        while self.free > 0 and self._waiting:
            self._begin(*self._waiting.popleft())

    def _begin(self, duration: int, done: Done, argument: Any) -> None:
        self.free -= 1
        self.busy_ticks += duration
        self._kernel.at(self._kernel.now + duration, 0, self._end, (done, argument))

    def _end(self, job: tuple[Done, Any]) -> None:
        self.free += 1
        if self._waiting and self.free > 0:
            self._begin(*self._waiting.popleft())
        done, argument = job
        done(argument)
