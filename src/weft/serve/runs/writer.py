"""What all runs log, written by one task: events that come while a commit is under way go together in the next.

A log that cannot be written (a full disk, a database that is away) is tried again until it can: runs wait for it, none
goes on unlogged.
"""

import asyncio
import logging

from weft.core.errors import CacheError
from weft.serve.runs.log import Entry, LostLogError, RunLog

RETRY_S = 0.5
_log = logging.getLogger(__name__)


class Writer:
    def __init__(self, log: RunLog, retry_s: float = RETRY_S) -> None:
        self._log = log
        self._retry_s = retry_s
        self._waiting: list[tuple[Entry, asyncio.Future[None]]] = []
        self._task: asyncio.Task[None] | None = None
        self.failing = ""
        """Why the last attempt failed; empty where it did not."""

    def write(self, entry: Entry) -> "asyncio.Future[None]":
        """Done once it is durable; in the order of the calls. It may be waited for or not."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((entry, future))
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._work())
        return future

    async def drain(self) -> None:
        """Until all that was written is durable, or the log is lost."""
        while self._task is not None and not self._task.done():
            await asyncio.wait({self._task})

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _work(self) -> None:
        while self._waiting:
            taken, self._waiting = self._waiting, []
            lost = await self._write([entry for entry, _ in taken])
            for _, future in taken:
                if future.done():
                    continue
                if lost is None:
                    future.set_result(None)
                else:
                    future.set_exception(lost)
                    future.exception()  # whoever does not wait for it need not hear of it

    async def _write(self, entries: list[Entry]) -> LostLogError | None:
        while True:
            try:
                await asyncio.to_thread(self._log.append, entries)
                self.failing = ""
                return None
            except LostLogError as error:
                return error
            except CacheError as error:
                if not self.failing:
                    _log.error("runs wait: %s", error)
                self.failing = str(error)
                await asyncio.sleep(self._retry_s)
