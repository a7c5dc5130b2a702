"""The longest gap between tokens since a given step, of one replica: what ITL max of a sequence is read from.

Kept are the steps that nothing later outlasts, so lengths fall from left to right and the first kept step at or after
the asked one is the longest since: amortised constant time a step, a bisection a question.
"""

from bisect import bisect_left


class LongestGaps:
    __slots__ = ("_lengths", "_steps")

    def __init__(self) -> None:
        self._steps: list[int] = []
        self._lengths: list[int] = []

    def add(self, step: int, length: int) -> None:
        """`step` is the latest so far; of a run of growing steps the last stands for all."""
        lengths = self._lengths
        while lengths and lengths[-1] <= length:
            lengths.pop()
            self._steps.pop()
        lengths.append(length)
        self._steps.append(step)

    def since(self, step: int) -> int:
        """The longest among the steps from `step` on; 0 where there is none."""
        at = bisect_left(self._steps, step)
        return self._lengths[at] if at < len(self._lengths) else 0

    def forget(self) -> None:
        """Nobody asks about the steps so far any more."""
        self._steps.clear()
        self._lengths.clear()
