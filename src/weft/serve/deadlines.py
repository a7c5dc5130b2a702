"""A time limit for each of many runs, with one timer for all: one of its own would cost more than much of a run."""

import asyncio
from collections.abc import Awaitable
from typing import Any, TypeVar

T = TypeVar("T")
LOOK_S = 1.0
"""At most so late is a limit noticed; sooner where it is shorter itself."""


class Deadlines:
    def __init__(self) -> None:
        self._until_s: dict[asyncio.Task[Any], float] = {}
        self._late: set[asyncio.Task[Any]] = set()
        self._looking: asyncio.TimerHandle | None = None

    async def within(self, limit_s: float, work: Awaitable[T]) -> T:
        """What comes of `work`, one at a time for each task. Raises TimeoutError once it took `limit_s`."""
        task, loop = asyncio.current_task(), asyncio.get_running_loop()
        assert task is not None and task not in self._until_s
        self._until_s[task] = loop.time() + limit_s
        if self._looking is None:
            self._looking = loop.call_later(min(LOOK_S, limit_s), self._look, loop)
        try:
            return await work
        except asyncio.CancelledError:
            if task in self._late and task.uncancel() == 0:
                raise TimeoutError from None
            raise
        finally:
            del self._until_s[task]
            self._late.discard(task)

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        now_s, until_s = loop.time(), self._until_s
        for task in [task for task, due_s in until_s.items() if due_s <= now_s and task not in self._late]:
            self._late.add(task)
            task.cancel()
        left_s = min(until_s.values(), default=now_s) - now_s
        self._looking = loop.call_later(min(LOOK_S, max(left_s, 0.01)), self._look, loop) if until_s else None
