"""Where runs are kept: over SQLite or PostgreSQL (runtime/conversations/database.py).

One server writes a log at a time. Who opens it last owns it; an earlier owner that still lives is refused from then on,
so nothing is run by two. What a call has returned from is durable.
"""

import secrets
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TypeVar

from weft.core.errors import CacheError, InputError
from weft.runtime.conversations.database import Database
from weft.runtime.conversations.database import Run as Query
from weft.serve.runs import schema
from weft.serve.runs.codec import decode_event, decode_run, encode_ending, encode_event, encode_run
from weft.serve.runs.run import ENDS, LogEvent, Run, Status

T = TypeVar("T")
_AT_ONCE = 500


class LostLogError(CacheError):
    """Another server has taken over the log."""


class KeyReusedError(InputError):
    """An idempotency key that was used for something else."""


@dataclass(frozen=True, slots=True)
class Call:
    """A webhook that is due: a message that nobody has taken yet, after `tries` attempts."""

    id: str
    url: str
    body: str
    tries: int
    due_s: float


@dataclass(frozen=True, slots=True)
class Entry:
    """One event of a run, what the run is after it (None: as before), and the message that it makes due, if any."""

    run: str
    event: LogEvent
    status: Status | None = None
    call: Call | None = None


class RunLog:
    def __init__(self, database: Database, clock: Callable[[], float] = time.time) -> None:
        self._database = database
        self.clock = clock
        self._owner = secrets.token_hex(8)
        try:
            database.transact(_set_up)
        except CacheError:  # two servers that make the same tables at once: the later one finds them now
            database.transact(_set_up)
        database.transact(lambda query: query(schema.OWN, (self._owner,)))

    def submit(self, run: Run) -> Run:
        """`run` itself; where its key is known, the one that was there before. KeyReusedError where that one
        was asked for something else."""

        def work(query: Query) -> Run:
            found = query(schema.OF_KEY, (run.tenant, run.key)) if run.key else []
            if found:
                return decode_run(*found[0])
            row = (run.id, run.tenant, run.key or None, run.status, run.created_s, encode_run(run))
            query(schema.SUBMIT, row)
            return run

        kept = self._owned(work)
        if kept.asked != run.asked:
            problem = "was used before, for something else"
            raise KeyReusedError(
                subject=f"idempotency key {run.key!r}", problem=problem, way_out="take a new key for each new request"
            )
        return kept

    def append(self, entries: Iterable[Entry]) -> None:
        """All of them or none; a run's status follows its events."""

        def work(query: Query) -> None:
            for entry in entries:
                query(schema.APPEND, (entry.run, entry.event.number, encode_event(entry.event)))
                _follow(query, entry)

        self._owned(work)

    def find(self, tenant: str, id: str) -> Run | None:
        found = self._database.transact(lambda query: query(schema.FIND, (tenant, id)))
        return decode_run(*found[0]) if found else None

    def runs(self, tenant: str, status: Status | None, before: Run | None, most: int) -> tuple[Run, ...]:
        """Newest first; those submitted before `before`."""
        edge = (before.created_s, before.id) if before else (1e300, "")
        asked = (tenant, status or "", status or "", *edge, most)
        return tuple(decode_run(*row) for row in self._database.transact(lambda query: query(schema.LIST, asked)))

    def unfinished(self) -> tuple[Run, ...]:
        """Of all tenants, oldest first."""
        return tuple(decode_run(*row) for row in self._database.transact(lambda query: query(schema.UNFINISHED, ())))

    def events(self, run: str, after: int = -1, most: int = 1_000_000) -> tuple[LogEvent, ...]:
        rows = self._database.transact(lambda query: query(schema.EVENTS, (run, after, most)))
        return tuple(decode_event(row[0]) for row in rows)

    def forget(self, run: str) -> None:
        self._owned(lambda query: _forget(query, run))

    def expire(self, keep_s: float) -> int:
        """Deletes runs that ended so long ago, some at a time; how many."""
        edge, gone = self.clock() - keep_s, 0
        while found := self._owned(lambda query: _expire(query, edge)):
            gone += found
        return gone

    def calls(self, most: int = 100) -> tuple[Call, ...]:
        """Messages that wait, the earliest due first."""
        return tuple(Call(*row) for row in self._database.transact(lambda query: query(schema.CALLS, (most,))))

    def put_off(self, call: Call, due_s: float) -> None:
        self._owned(lambda query: query(schema.PUT_OFF, (due_s, call.id)))

    def called(self, call: Call) -> None:
        self._owned(lambda query: query(schema.CALLED, (call.id,)))

    def close(self) -> None:
        self._database.close()

    def _owned(self, work: Callable[[Query], T]) -> T:
        """`work` in a transaction, unless another server owns the log now."""

        def checked(query: Query) -> T:
            if not query(schema.OWNED, (self._owner,)):
                raise _lost()
            return work(query)

        return self._database.transact(checked)


def _follow(query: Query, entry: Entry) -> None:
    event, call = entry.event, entry.call
    if event.kind in ENDS:
        query(schema.END, (ENDS[event.kind], event.at_s, encode_ending(event), entry.run))
    elif entry.status is not None:
        query(schema.SET_STATUS, (entry.status, entry.run))
    if call is not None:
        query(schema.CALL, (call.id, call.url, call.body, call.due_s))


def _forget(query: Query, run: str) -> None:
    for statement in schema.FORGET:
        query(statement, (run,))


def _expire(query: Query, edge_s: float) -> int:
    found = query(schema.EXPIRED, (edge_s, _AT_ONCE))
    for (run,) in found:
        _forget(query, run)
    return len(found)


def _set_up(query: Query) -> None:
    for table in schema.TABLES:
        query(table, ())
    query("INSERT INTO weft_runs_schema VALUES (?) ON CONFLICT (version) DO NOTHING", (schema.VERSION,))
    found = max(row[0] for row in query("SELECT version FROM weft_runs_schema", ()))
    if found != schema.VERSION:
        problem = f"has schema version {found}, this program knows {schema.VERSION}"
        raise CacheError(subject="run log", problem=problem, way_out="run the newer program")


def _lost() -> LostLogError:
    problem, way_out = "was taken over by another server", "give each server a log of its own"
    return LostLogError(subject="run log", problem=problem, way_out=way_out)
