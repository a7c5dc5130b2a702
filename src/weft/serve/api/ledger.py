"""What tenants have used, kept where durable runs are: a restart forgets nothing that is older than a second.

Written in batches, by a thread: a request only changes a number in memory. Levels are kept with the time of day, so
that limits fill again while the server is down; a clock that jumped back fills nothing.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncGenerator, Callable, Sequence

from weft.core.errors import CacheError
from weft.runtime.conversations.database import Database, Run
from weft.serve.api.spending import Bucket, Spending

EVERY_S = 1.0
_TABLE = """CREATE TABLE IF NOT EXISTS weft_spending (
    tenant TEXT NOT NULL, what TEXT NOT NULL, most DOUBLE PRECISION NOT NULL, period_s DOUBLE PRECISION NOT NULL,
    level DOUBLE PRECISION NOT NULL, at_s DOUBLE PRECISION NOT NULL, PRIMARY KEY (tenant, what))"""
_READ = "SELECT tenant, what, most, period_s, level, at_s FROM weft_spending"
_WRITE = """INSERT INTO weft_spending VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (tenant, what) DO UPDATE SET
    most = excluded.most, period_s = excluded.period_s, level = excluded.level, at_s = excluded.at_s"""
_log = logging.getLogger(__name__)


class Ledger:
    def __init__(self, database: Database, spending: Spending, clock: Callable[[], float] = time.time) -> None:
        self._database = database
        self._spending = spending
        self._clock = clock

    def read(self, now_s: float) -> None:
        """What the last server left. Raises CacheError."""

        def work(run: Run) -> list[tuple[str, str, float, float, float, float]]:
            run(_TABLE, ())
            return run(_READ, ())  # pyright: ignore[reportReturnType]

        for tenant, what, most, period_s, level, at_s in self._database.transact(work):
            passed_s = max(0.0, self._clock() - at_s)
            self._spending.restore((tenant, what), Bucket(most, period_s, level, now_s - passed_s))

    async def write(self, now_s: float) -> None:
        """What has changed since. Where it cannot be written it waits for the next time."""
        changed, at_s = self._spending.changed(now_s), self._clock()
        rows = [(*key, each.most, each.period_s, each.level, at_s) for key, each in changed.items()]
        try:
            if rows:
                await asyncio.to_thread(self._database.transact, lambda run: _write(run, rows))
        except CacheError as error:
            _log.error("what tenants used is kept in memory alone: %s", error)
            self._spending.mark(changed)


@contextlib.asynccontextmanager
async def kept_spending(database: Database, spending: Spending) -> AsyncGenerator[None]:
    ledger, loop = Ledger(database, spending), asyncio.get_running_loop()

    async def keep() -> None:
        while True:
            await asyncio.sleep(EVERY_S)
            await ledger.write(time.monotonic())

    await asyncio.to_thread(ledger.read, time.monotonic())
    keeping = loop.create_task(keep())
    try:
        yield
    finally:
        keeping.cancel()
        await asyncio.gather(keeping, return_exceptions=True)
        await ledger.write(time.monotonic())


def _write(run: Run, rows: Sequence[tuple[str | float, ...]]) -> None:
    for row in rows:
        run(_WRITE, row)
