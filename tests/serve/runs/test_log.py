"""The run log, on SQLite and on PostgreSQL."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import TypeVar

import pytest

from tests.serve.runs.conftest import acting, run_of
from weft.core.errors import CacheError, InputError
from weft.core.message import Message
from weft.core.metrics import StepRecord
from weft.runtime.conversations.database import Database
from weft.runtime.conversations.database import Run as Query
from weft.runtime.values import Docs, Items, Json, KvHandle, Passage, Value, Vector
from weft.serve.runs.log import Call, Entry, LostLogError, RunLog
from weft.serve.runs.run import Kind, LogEvent, Status
from weft.serve.runs.writer import Writer

T = TypeVar("T")
VALUES: tuple[Value, ...] = (
    'a "text"\n\x00é',
    7,
    (Message("user", "hi"), Message("assistant", "yes")),
    b"RIFF\x00\xff",
    Docs((Passage("1", "t", "x"),)),
    Json({"a": [1, None]}),
    Vector((0.5, -1.0)),
    Items(("a", 1)),
    KvHandle("host:1", 3, 4, 5),
    b"more",
)
RECORD = StepRecord("send", 0, "node", "cpu", 0.25, 1.5, input_tokens=3)


def test_what_is_logged_is_there_after_opening_again(database: Callable[[], Database]) -> None:
    log = RunLog(database())
    run = run_of(acting(), b"sound", terms={"seed": 1}, metadata={"a": "b"}, said=(Message("user", "x"),))
    assert log.submit(run) == run
    first = LogEvent(0, Kind.STEP_STARTED, 1.0, "send", 0)
    ended = LogEvent(1, Kind.STEP_ENDED, 2.0, "send", 0, VALUES, RECORD, 0.5)
    log.append([Entry(run.id, first, Status.IN_PROGRESS), Entry(run.id, ended)])
    log.close()
    log = RunLog(database())
    assert log.find("t", run.id) == replace(run, status=Status.IN_PROGRESS) == log.unfinished()[0]
    assert log.find("another", run.id) is None
    assert log.events(run.id) == (first, ended)
    assert log.events(run.id, after=0) == (ended,)
    log.append([Entry(run.id, LogEvent(2, Kind.COMPLETED, 3.0, values=("done",)))])
    assert log.unfinished() == ()
    found = log.find("t", run.id)
    assert found is not None
    assert (found.status, found.values, found.ended_s) == (Status.COMPLETED, ("done",), 3.0)
    assert log.expire(keep_s=1e10) == 0
    assert log.expire(keep_s=1.0) == 1
    assert (log.find("t", run.id), log.events(run.id)) == (None, ())


def test_a_key_is_one_run(database: Callable[[], Database]) -> None:
    log = RunLog(database())
    first = log.submit(run_of(acting(), "a", key="k", asked="1"))
    assert log.submit(run_of(acting(), "a", "run_2", key="k", asked="1")) == first
    with pytest.raises(InputError, match="was used before, for something else"):
        log.submit(run_of(acting(), "b", "run_3", key="k", asked="2"))
    assert log.submit(run_of(acting(), "b", "run_4", key="k", asked="2", tenant="other")).id == "run_4"
    assert log.submit(run_of(acting(), "b", "run_5")).id == "run_5"
    assert log.submit(run_of(acting(), "b", "run_6")).id == "run_6"  # no key is no key


def test_runs_are_listed_newest_first_a_page_at_a_time(database: Callable[[], Database]) -> None:
    log = RunLog(database())
    runs = [log.submit(run_of(acting(), "a", f"run_{n}", created_s=float(n // 2))) for n in range(6)]
    log.append([Entry("run_3", LogEvent(0, Kind.FAILED, 1.0, text="no"))])
    listed = log.runs("t", None, None, 4)
    assert [run.id for run in listed] == ["run_5", "run_4", "run_3", "run_2"]
    assert [run.id for run in log.runs("t", None, listed[-1], 4)] == ["run_1", "run_0"]
    assert [run.id for run in log.runs("t", Status.FAILED, None, 4)] == ["run_3"]
    assert log.runs("nobody", None, None, 4) == ()
    log.forget("run_3")
    assert len(runs) - 1 == len(log.runs("t", None, None, 10))


def test_who_opens_a_log_last_owns_it(database: Callable[[], Database]) -> None:
    old = RunLog(database())
    run = old.submit(run_of(acting(), "a"))
    new = RunLog(database())
    event = LogEvent(0, Kind.STEP_STARTED, 1.0, "send", 0)
    with pytest.raises(LostLogError, match="taken over by another server"):
        old.append([Entry(run.id, event)])
    with pytest.raises(LostLogError):
        old.submit(run_of(acting(), "a", "run_2"))
    new.append([Entry(run.id, event)])
    assert old.find("t", run.id) is not None  # it may still read


def test_messages_that_are_due_wait_in_the_log(database: Callable[[], Database]) -> None:
    log = RunLog(database(), clock=lambda: 10.0)
    run = log.submit(run_of(acting(), "a"))
    call = Call("evt_1", "http://x", "{}", 0, 3.0)
    log.append([Entry(run.id, LogEvent(0, Kind.FAILED, 3.0), None, call)])
    assert log.calls() == (call,)
    log.put_off(call, 20.0)
    assert log.calls() == (replace(call, tries=1, due_s=20.0),)
    log.called(call)
    assert log.calls() == ()


class FullDisk:
    """A database that refuses some transactions."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.full = False

    def transact(self, work: Callable[[Query], T]) -> T:
        if self.full:
            raise CacheError(subject="disk", problem="is full", way_out="make room")
        return self.database.transact(work)

    def close(self) -> None: ...


async def test_runs_wait_for_a_log_that_cannot_be_written(database: Callable[[], Database]) -> None:
    disk = FullDisk(database())
    log = RunLog(disk)
    writer, run = Writer(log, retry_s=0.01), log.submit(run_of(acting(), "a"))
    disk.full = True
    events = [LogEvent(number, Kind.STEP_STARTED, 1.0, "send", number) for number in range(50)]
    written = [writer.write(Entry(run.id, event)) for event in events]
    await asyncio.sleep(0.05)
    assert "disk: is full" in writer.failing
    assert not any(each.done() for each in written)
    disk.full = False
    await asyncio.gather(*written)
    assert list(log.events(run.id)) == events
    assert not writer.failing
