"""A reply as it comes: an iterator for whoever waits in a thread of their own."""

import queue
from collections.abc import Callable, Iterator
from typing import Self

from weft.runtime.engines.requests import Emitted, Event, Finish


class Generation:
    """Iterate over it for the tokens; an error of the engine is raised there. Leaving it (`with`) cancels the rest."""

    def __init__(self, cancel: Callable[[], None]) -> None:
        self.finish: Finish | None = None
        self._cancel = cancel
        self._events: queue.SimpleQueue[Event] = queue.SimpleQueue()

    @property
    def listener(self) -> Callable[[Event], None]:
        return self._events.put

    def cancel(self) -> None:
        if self.finish is None:
            self._cancel()

    def __iter__(self) -> Iterator[Emitted]:
        while self.finish is None:
            event = self._events.get()
            if isinstance(event, Finish):
                self.finish = event
            elif isinstance(event, Exception):
                self.finish = Finish.CANCELLED
                raise event
            else:
                yield event

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.cancel()
