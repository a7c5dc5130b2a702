"""Caches that come in before a step asks for them, while their prompts are still computed elsewhere.

Nothing rests on them: one that fails, or that nobody asks for, is forgotten, and the step fetches the cache itself.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable

from weft.runtime.kv.pull import KvPull

AT_ONCE = 64
PATIENCE_S = 30.0
"""A cache that is there is kept so long for the step that asks for it."""

_log = logging.getLogger(__name__)
_Name = tuple[str, int]


class EarlyPulls:
    """`fetch` fills a pull from the node at an address. A cache is named by that address and its sequence there."""

    def __init__(self, fetch: Callable[[str, KvPull], Awaitable[None]], patience_s: float = PATIENCE_S) -> None:
        self._fetch = fetch
        self._patience_s = patience_s
        self._under_way: dict[_Name, asyncio.Task[KvPull | None]] = {}

    def __len__(self) -> int:
        return len(self._under_way)

    def begin(self, address: str, pull: KvPull) -> None:
        """Beyond the limit, or if it has begun, this is nothing: what is offered need not be taken."""
        name = address, pull.sequence
        if name not in self._under_way and len(self._under_way) < AT_ONCE:
            self._under_way[name] = asyncio.create_task(self._pull(name, pull))

    async def take(self, address: str, sequence: int) -> KvPull | None:
        """All of it, which is then the caller's to close; None: fetch it yourself."""
        task = self._under_way.pop((address, sequence), None)
        if task is None:
            return None
        try:
            return await task
        except asyncio.CancelledError:
            _forget(task)
            raise

    def drop(self, address: str, sequence: int) -> None:
        if (task := self._under_way.pop((address, sequence), None)) is not None:
            _forget(task)

    async def close(self) -> None:
        tasks, self._under_way = [*self._under_way.values()], {}
        for task in tasks:
            _forget(task)
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _pull(self, name: _Name, pull: KvPull) -> KvPull | None:
        try:
            await self._fetch(name[0], pull)
        except BaseException as error:
            pull.close()
            if isinstance(error, asyncio.CancelledError):
                raise
            _log.info("an early cache did not come: %s", error)
            return None
        asyncio.get_running_loop().call_later(self._patience_s, self.drop, *name)
        return pull


def _forget(task: "asyncio.Task[KvPull | None]") -> None:
    task.cancel()
    task.add_done_callback(_close)


def _close(done: "asyncio.Task[KvPull | None]") -> None:
    """It may have come before it was cancelled."""
    if not done.cancelled() and done.exception() is None and (pull := done.result()) is not None:
        pull.close()
