"""Durable runs for a test, over the same log each time that they are opened."""

import contextlib
from collections.abc import AsyncGenerator, Mapping

from weft.runtime.conversations.opening import open_conversations, open_database
from weft.serve.agents import ServedAgent
from weft.serve.runs.log import RunLog
from weft.serve.runs.runs import Runs


@contextlib.asynccontextmanager
async def opened_runs(agents: Mapping[str, ServedAgent], address: str, **fields: object) -> AsyncGenerator[Runs]:
    """With sessions beside the log, unless `fields` name others."""
    log, sessions = RunLog(open_database(address, "runs")), open_conversations(address)
    runs = Runs(agents, log, **{"sessions": sessions, **fields})  # pyright: ignore[reportArgumentType]
    await runs.open()
    try:
        yield runs
    finally:
        await runs.close()
        sessions.close()
        log.close()
