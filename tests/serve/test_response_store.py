"""What is kept of responses: both stores do the same, whatever lies below."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.runtime.conversations.conftest import database as database
from tests.runtime.conversations.conftest import postgres as postgres
from weft.core.errors import CacheError, CapacityError
from weft.runtime.conversations.database import Database
from weft.runtime.conversations.sqlite import SqliteDatabase
from weft.serve.response_store import DatabaseResponses, MemoryResponses, ResponseLimits, ResponseStore, StoredResponse

LIMITS = ResponseLimits(most=3, each_bytes=1000, memory_bytes=1200, keep_s=100.0)


class Clock:
    now_s = 50.0

    def __call__(self) -> float:
        return self.now_s


Opened = Callable[[Clock], ResponseStore]


def in_memory(clock: Clock) -> ResponseStore:
    return MemoryResponses(LIMITS, clock)


def response(tenant: str, number: int, text: str = "a\x00b") -> StoredResponse:
    return StoredResponse(f"resp_{number}", tenant, float(number), [{"text": text}], {"number": number})


async def test_memory_keeps_the_newest_of_each_tenant() -> None:
    await keeps_the_newest(in_memory)


async def test_a_database_keeps_the_newest_of_each_tenant(database: Callable[[], Database]) -> None:
    await keeps_the_newest(lambda clock: DatabaseResponses(database(), LIMITS, clock))


async def keeps_the_newest(opened: Opened) -> None:
    clock = Clock()
    store = opened(clock)
    await asyncio.gather(*(store.keep(response("alice", number)) for number in range(5)))
    await store.keep(response("bob", 0))
    found = [await store.find("alice", f"resp_{number}") for number in range(5)]
    assert found == [None, None, *(response("alice", number) for number in (2, 3, 4))]
    assert await store.find("bob", "resp_0") == response("bob", 0)
    assert await store.find("carol", "resp_4") is None
    later = StoredResponse("resp_4", "alice", 4.0, [], {"status": "completed"})
    await store.keep(later)
    assert await store.find("alice", "resp_4") == later
    assert not await store.forget("bob", "resp_4") and await store.forget("alice", "resp_4")
    assert await store.find("alice", "resp_4") is None
    with pytest.raises(CapacityError, match="1000 are the most"):
        await store.keep(response("alice", 9, "x" * 1000))
    clock.now_s = 102.5
    assert await store.find("alice", "resp_2") is None and await store.find("alice", "resp_3")
    clock.now_s = -1e9  # a clock that jumps back
    assert await store.find("alice", "resp_3")


async def test_memory_is_bounded() -> None:
    store = MemoryResponses(LIMITS, Clock())
    for number in range(20):
        await store.keep(response(f"tenant {number}", number, "x" * 100))
    kept = [await store.find(f"tenant {number}", f"resp_{number}") for number in range(20)]
    assert kept[0] is None and kept[-1] is not None
    assert 1 < sum(each is not None for each in kept) < 10


async def test_what_is_kept_outlives_the_server_until_it_is_too_old(tmp_path: Path) -> None:
    clock = Clock()
    first = SqliteDatabase(tmp_path / "runs.db")
    await DatabaseResponses(first, LIMITS, clock).keep(response("alice", 7))
    first.close()
    second = DatabaseResponses(SqliteDatabase(tmp_path / "runs.db"), LIMITS, clock)
    assert await second.find("alice", "resp_7") == response("alice", 7)
    assert second.expire() == 0
    clock.now_s = 108.0
    assert second.expire() == 1


async def test_a_database_that_is_away_refuses_and_comes_back(tmp_path: Path) -> None:
    class Away(SqliteDatabase):
        away = False

        def transact(self, work):  # pyright: ignore
            if self.away:
                raise CacheError(subject="runs", problem="disk full", way_out="wait")
            return super().transact(work)  # pyright: ignore

    database = Away(tmp_path / "runs.db")
    store = DatabaseResponses(database, LIMITS, Clock())
    database.away = True
    with pytest.raises(CacheError, match="disk full"):
        await store.keep(response("alice", 1))
    database.away = False
    await store.keep(response("alice", 2))
    assert await store.find("alice", "resp_1") is None and await store.find("alice", "resp_2")
