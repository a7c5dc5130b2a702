"""Stop strings: a reply ends before the first of them, and no part of one is ever given out."""

from collections.abc import Sequence

from weft.core.errors import RunError


class StopText:
    """Takes pieces of text, gives out what is certain to stand before any stop string. `stopped` once one came."""

    def __init__(self, stops: Sequence[str]) -> None:
        if not all(stops):
            raise RunError(subject="stop strings", problem="one is empty", way_out="leave it out")
        self._stops = tuple(stops)
        self._held = ""
        self.stopped = False

    def push(self, piece: str) -> str:
        if self.stopped:
            return ""
        text = self._held + piece
        found = [at for stop in self._stops if (at := text.find(stop)) >= 0]
        if found:
            self.stopped, self._held = True, ""
            return text[: min(found)]
        kept = self._open(text)
        self._held = text[len(text) - kept :]
        return text[: len(text) - kept]

    def finish(self) -> str:
        """What was held back and turned out to be no stop string."""
        held, self._held = self._held, ""
        return held

    def _open(self, text: str) -> int:
        """The length of the longest end of the text that a stop string begins with."""
        longest = max((len(stop) for stop in self._stops), default=1) - 1
        return next(
            (n for n in range(min(longest, len(text)), 0, -1) if any(s.startswith(text[-n:]) for s in self._stops)), 0
        )
