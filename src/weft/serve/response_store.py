"""Responses that are kept, so that a conversation goes on from one (`previous_response_id`) and can be looked up.

Beside the log of durable runs where there is one, for any number of servers; else in memory, until this one stops. Both
keep the newest of each tenant, so many and so long.
"""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import msgspec

from weft.core.errors import CacheError, CapacityError
from weft.runtime.conversations.database import Database, Run

DAY_S = 86_400.0
_TABLES = (
    """CREATE TABLE IF NOT EXISTS weft_responses (
        tenant TEXT NOT NULL, id TEXT NOT NULL, created_s DOUBLE PRECISION NOT NULL, body TEXT NOT NULL,
        PRIMARY KEY (tenant, id))""",
    "CREATE INDEX IF NOT EXISTS weft_responses_created ON weft_responses (tenant, created_s)",
)
_KEEP = """INSERT INTO weft_responses VALUES (?, ?, ?, ?)
    ON CONFLICT (tenant, id) DO UPDATE SET body = excluded.body"""
_FIND = "SELECT body FROM weft_responses WHERE tenant = ? AND id = ? AND created_s > ?"
_FORGET = "DELETE FROM weft_responses WHERE tenant = ? AND id = ? RETURNING id"
_EXPIRE = "DELETE FROM weft_responses WHERE created_s <= ? RETURNING id"
_TOO_MANY = """DELETE FROM weft_responses WHERE tenant = ? AND created_s <=
    (SELECT created_s FROM weft_responses WHERE tenant = ? ORDER BY created_s DESC LIMIT 1 OFFSET ?)"""


@dataclass(frozen=True, slots=True)
class ResponseLimits:
    """`most` of a tenant, each of `each_bytes` at most, are kept `keep_s`; in memory `memory_bytes` of all tenants."""

    most: int = 10_000
    each_bytes: int = 1 << 20
    memory_bytes: int = 64 << 20
    keep_s: float = 30 * DAY_S


class StoredResponse(msgspec.Struct, frozen=True):
    """`items`: the conversation that it answers, as the API spells it; `response` as its caller got it, or, of one that
    is made in the background, as it began."""

    id: str
    tenant: str
    created_s: float
    items: list[dict[str, Any]]
    response: dict[str, Any]


class ResponseStore(Protocol):
    """Raises CacheError where it cannot be reached, CapacityError where a response is too large."""

    async def keep(self, stored: StoredResponse) -> None:
        """As durable as it gets once this returns. The same id again takes the place of the former."""
        ...

    async def find(self, tenant: str, id: str) -> StoredResponse | None: ...

    async def forget(self, tenant: str, id: str) -> bool:
        """Whether it was there."""
        ...


_decoder = msgspec.json.Decoder(StoredResponse)


def _encoded(stored: StoredResponse, limits: ResponseLimits) -> bytes:
    body = msgspec.json.encode(stored)
    if len(body) > limits.each_bytes:
        problem = f"has {len(body)} bytes with its conversation, {limits.each_bytes} are the most that is kept of one"
        raise CapacityError(subject=f"response {stored.id}", problem=problem, way_out="give store: false")
    return body


@dataclass(slots=True)
class MemoryResponses:
    limits: ResponseLimits = field(default_factory=ResponseLimits)
    clock: Callable[[], float] = time.time
    _kept: OrderedDict[tuple[str, str], bytes] = field(default_factory=OrderedDict[tuple[str, str], bytes])
    _of: dict[str, int] = field(default_factory=dict[str, int])
    _bytes: int = 0

    async def keep(self, stored: StoredResponse) -> None:
        body, key = _encoded(stored, self.limits), (stored.tenant, stored.id)
        self._drop(key)
        self._kept[key] = body
        self._bytes += len(body)
        self._of[stored.tenant] = self._of.get(stored.tenant, 0) + 1
        if self._of[stored.tenant] > self.limits.most:
            self._drop(next(each for each in self._kept if each[0] == stored.tenant))
        while self._bytes > self.limits.memory_bytes:
            self._drop(next(iter(self._kept)))

    async def find(self, tenant: str, id: str) -> StoredResponse | None:
        body = self._kept.get((tenant, id))
        found = None if body is None else _decoder.decode(body)
        return found if found is not None and found.created_s > self.clock() - self.limits.keep_s else None

    async def forget(self, tenant: str, id: str) -> bool:
        return self._drop((tenant, id))

    def _drop(self, key: tuple[str, str]) -> bool:
        body = self._kept.pop(key, None)
        if body is None:
            return False
        self._bytes -= len(body)
        self._of[key[0]] -= 1
        return True


class DatabaseResponses:
    """Responses that come while a commit is under way go together in the next."""

    def __init__(
        self, database: Database, limits: ResponseLimits | None = None, clock: Callable[[], float] = time.time
    ) -> None:
        self._database = database
        self._limits = limits or ResponseLimits()
        self._clock = clock
        self._waiting: list[tuple[StoredResponse, bytes, asyncio.Future[None]]] = []
        self._task: asyncio.Task[None] | None = None
        try:
            database.transact(_set_up)
        except CacheError:  # two servers that make the same tables at once: the later one finds them now
            database.transact(_set_up)

    async def keep(self, stored: StoredResponse) -> None:
        kept: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((stored, _encoded(stored, self._limits), kept))
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._work())
        await kept

    async def find(self, tenant: str, id: str) -> StoredResponse | None:
        asked = (tenant, id, self._clock() - self._limits.keep_s)
        found = await self._run(lambda run: run(_FIND, asked))
        return _decoder.decode(found[0][0]) if found else None

    async def forget(self, tenant: str, id: str) -> bool:
        return bool(await self._run(lambda run: run(_FORGET, (tenant, id))))

    def expire(self, behind_s: float = 0.0) -> int:
        """Deletes what is too old, by a time so far behind the clock's; how many. To be called in a thread."""
        edge_s = self._clock() - behind_s - self._limits.keep_s
        return len(self._database.transact(lambda run: run(_EXPIRE, (edge_s,))))

    async def _run(self, work: Callable[[Run], list[tuple[Any, ...]]]) -> list[tuple[Any, ...]]:
        return await asyncio.to_thread(self._database.transact, work)

    async def _work(self) -> None:
        while self._waiting:
            taken, self._waiting = self._waiting, []
            bodies = {(each.tenant, each.id, each.created_s): body for each, body, _ in taken}
            failed: CacheError | None = None
            try:
                await asyncio.to_thread(self._database.transact, lambda run, bodies=bodies: self._write(run, bodies))
            except CacheError as error:
                failed = error
            for kept in (each for _, _, each in taken if not each.done()):
                if failed is None:
                    kept.set_result(None)
                else:
                    kept.set_exception(failed)

    def _write(self, run: Run, bodies: Mapping[tuple[str, str, float], bytes]) -> None:
        for (tenant, id, created_s), body in bodies.items():
            run(_KEEP, (tenant, id, created_s, body.decode()))
        for tenant in {tenant for tenant, _, _ in bodies}:
            run(_TOO_MANY, (tenant, tenant, self._limits.most))


def _set_up(run: Run) -> None:
    for table in _TABLES:
        run(table, ())
