"""What `weft serve` keeps: durable runs, sessions, the audit log; and whom it tells when a run has ended."""

import asyncio
import contextlib
import os
import tempfile
from collections.abc import AsyncGenerator, Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from weft.core.errors import CacheError, InputError
from weft.runtime.conversations.opening import open_conversations, open_database
from weft.serve.agents import Agents
from weft.serve.api.guard import Guard
from weft.serve.api.ledger import kept_spending
from weft.serve.response_store import DAY_S, DatabaseResponses, MemoryResponses, ResponseLimits, ResponseStore
from weft.serve.runs.log import RunLog
from weft.serve.runs.runs import RunLimits, Runs
from weft.serve.runs.webhooks import Webhooks, read_secret
from weft.serve.stream_log import StreamLog

OFF = "off"
EXPIRE_EVERY_S = 3600.0
RunsAt = Annotated[
    str | None,
    typer.Option("--runs", help="Keep durable runs here: a file or postgresql://…; off; else ~/.local/state/weft."),
]
KeepDays = Annotated[float, typer.Option("--keep-days", help="Days that ended runs and responses are kept.")]
Secret = Annotated[Path | None, typer.Option("--webhook-secret", help="File with the secret that signs webhooks.")]
Hosts = Annotated[list[str] | None, typer.Option("--webhook-host", help="A host that webhooks may call.")]
AuditFile = Annotated[Path | None, typer.Option("--audit", help="Append a line of JSON for each request here.")]


@dataclass(frozen=True, slots=True)
class KeepOptions:
    runs: RunsAt = None
    keep_days: KeepDays = 30.0
    webhook_secret: Secret = None
    webhook_host: Hosts = None
    audit: AuditFile = None


def log_address(keep: KeepOptions, port: int) -> str | None:
    """None: nothing is kept. Each port has a log of its own: one server writes a log."""
    if keep.runs == OFF or (keep.runs is None and port == 0):
        return None
    return keep.runs or str(_default_log(port))


def graphs_path(address: str | None, port: int) -> Path | None:
    """Where LangGraph programs keep the state of durable runs: beside their log, where that is a file."""
    if address is None:
        return None
    log = _default_log(port) if "://" in address else Path(address)
    log.parent.mkdir(parents=True, exist_ok=True)
    return log.with_suffix(".graphs.db")


def _default_log(port: int) -> Path:
    return Path.home() / ".local" / "state" / "weft" / f"runs-{port}.db"


def keep_s(keep: KeepOptions) -> float:
    if not keep.keep_days > 0:
        raise InputError(subject="--keep-days", problem=f"is {keep.keep_days:g}", way_out="give more than 0")
    return keep.keep_days * DAY_S


def webhooks_of(keep: KeepOptions) -> Webhooks | None:
    """Raises InputError where one of the two options is missing."""
    hosts = frozenset(keep.webhook_host or ())
    if keep.webhook_secret is None and not hosts:
        return None
    if keep.webhook_secret is None or not hosts:
        problem = "go together: who may be called, and how they know that it is us"
        raise InputError(
            subject="--webhook-secret and --webhook-host", problem=problem, way_out="give both, or neither"
        )
    return Webhooks(read_secret(keep.webhook_secret), hosts)


@contextlib.contextmanager
def stream_log() -> Generator[StreamLog]:
    """For the life of a server, whatever becomes of its gateway: in memory, where the system has files in memory."""
    memory = "/dev/shm"
    where = memory if os.access(memory, os.W_OK) else None
    with tempfile.TemporaryDirectory(prefix="weft-streams-", dir=where, ignore_cleanup_errors=True) as folder:
        yield StreamLog(Path(folder))


@contextlib.asynccontextmanager
async def kept_runs(
    agents: Agents, guard: Guard, address: str | None, webhooks: Webhooks | None, limits: RunLimits
) -> AsyncGenerator[tuple[Runs | None, ResponseStore]]:
    """Goes on with the runs that the last server on this log left, and with what tenants had used. Without a log there
    are no runs, and responses are in memory alone."""
    kept = ResponseLimits(keep_s=limits.keep_s)
    if address is None:
        yield None, MemoryResponses(kept)
        return
    database = open_database(address, "runs")
    log, sessions, responses = RunLog(database), open_conversations(address), DatabaseResponses(database, kept)
    runs = Runs(agents.by_name, log, sessions, webhooks, limits, guard.used)
    try:
        async with kept_spending(database, guard.spending), expiring(log, responses, limits.keep_s):
            try:
                await runs.open()
                yield runs, responses
            finally:
                await runs.close()
    finally:
        sessions.close()
        log.close()


@contextlib.asynccontextmanager
async def expiring(log: RunLog, responses: DatabaseResponses, keep_s: float) -> AsyncGenerator[None]:
    """Deletes what is too old, as long as the server lives. A clock that jumps ahead is believed two hours an hour."""

    def expire(behind_s: float) -> None:
        with contextlib.suppress(CacheError):  # it can be done later
            log.expire(keep_s + behind_s)
            responses.expire(behind_s)

    async def keep() -> None:
        believed_s = log.clock()
        while True:
            now_s = log.clock()
            believed_s = min(now_s, believed_s + 2 * EXPIRE_EVERY_S)
            await asyncio.to_thread(expire, now_s - believed_s)
            await asyncio.sleep(EXPIRE_EVERY_S)

    keeping = asyncio.create_task(keep())
    try:
        yield
    finally:
        keeping.cancel()
        await asyncio.gather(keeping, return_exceptions=True)
