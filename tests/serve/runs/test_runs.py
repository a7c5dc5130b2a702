"""Durable runs on live nodes: submitted, followed, cancelled, answered, and gone on with after a restart."""

import asyncio
import contextlib
import sqlite3
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.serve.api.conftest import chat, loop
from tests.serve.runs.conftest import Opened, acting, reviewed, run_of
from weft.core.errors import InputError, NodeDiedError, OverloadError
from weft.core.message import Message
from weft.runtime.client import NodeClient
from weft.runtime.conversations.opening import open_conversations
from weft.runtime.node import Node
from weft.runtime.services import Services
from weft.runtime.transport.memory import MemoryTransport
from weft.serve.runs.journal import Delta, Told
from weft.serve.runs.log import Entry, RunLog
from weft.serve.runs.run import Kind, LogEvent, Run, Status
from weft.serve.runs.runs import RunLimits, Runs


async def until(runs: Runs, run: Run, *statuses: Status) -> Run:
    async with asyncio.timeout(20):
        while (found := await runs.find(run.tenant, run.id)) is None or found.status not in statuses:
            await asyncio.sleep(0.01)
    return found


async def told_to_the_end(following: AsyncIterator[Told]) -> list[Told]:
    async with asyncio.timeout(20):
        return [each async for each in following]


def started(events: list[Told]) -> list[tuple[str, int]]:
    return [(e.step, e.visit) for e in events if isinstance(e, LogEvent) and e.kind is Kind.STEP_STARTED]


async def test_a_run_is_logged_step_by_step(opened: Opened) -> None:
    async with opened() as runs:
        run = await runs.submit(run_of(loop(), "ab"))
        events = await told_to_the_end(runs.follow(run))
        done = await until(runs, run, Status.COMPLETED)
        assert done.values == ("ABAB!!!!",)
        assert started(events) == [("left", 0), ("right", 0), ("join", 0)] + [
            (name, visit) for visit in range(4) for name in ("grow", "more")
        ]
        numbers = [event.number for event in events if isinstance(event, LogEvent)]
        assert numbers == list(range(len(numbers)))
        ended = [event for event in events if isinstance(event, LogEvent) and event.kind is Kind.STEP_ENDED]
        assert sum(event.usd for event in ended) == pytest.approx(0.25 * len(ended))
        assert await told_to_the_end(runs.follow(run, after=3)) == events[4:]


async def test_a_stopped_server_goes_on_where_it_was(opened: Opened) -> None:
    async with opened() as runs:
        run = await runs.submit(run_of(reviewed(), "ab"))
        await until(runs, run, Status.REQUIRES_ACTION)
        other = await runs.submit(run_of(loop(), "hang", "run_2"))
    async with opened() as runs:
        asked = await until(runs, run, Status.REQUIRES_ACTION)
        assert (await until(runs, other, Status.COMPLETED)).values == ("HANGHANG!",)
        await runs.answer(asked, "fine")
        assert (await until(runs, run, Status.COMPLETED)).values == ("fine!",)
        events = list(runs.log.events(run.id))
    assert [each.step for each in events if each.kind is Kind.STEP_STARTED].count("draft") == 1
    assert [each.values for each in events if each.kind is Kind.ASKED] == [("AB",), ("AB",)]


async def test_a_reply_that_was_cut_off_is_drawn_again_and_is_the_same(opened: Opened, tmp_path: Path) -> None:
    said = (Message("user", "What does an H100 cost?"),)
    async with opened() as runs:
        whole = await runs.submit(run_of(chat(), said))
        events = await told_to_the_end(runs.follow(whole))
        expected = await until(runs, whole, Status.COMPLETED)
    pieces = [event.text for event in events if isinstance(event, Delta) and event.step == "answer.decode"]
    assert "".join(pieces) in str(expected.values[0])
    with contextlib.closing(sqlite3.connect(tmp_path / "runs.db", isolation_level=None)) as database:
        # as a crash in the middle of the decode would have left it
        database.execute("UPDATE weft_runs SET status = 'in_progress', ended_s = NULL, ending = ''")
        database.execute("DELETE FROM weft_run_events WHERE number > 4")
    async with opened() as runs:
        again = await until(runs, whole, Status.COMPLETED)
        steps = [each.step for each in runs.log.events(whole.id) if each.kind is Kind.STEP_ENDED]
    assert again.values == expected.values
    assert steps == ["answer.prefill", "answer.kv", "answer.prefill", "answer.kv", "answer.decode"]


async def test_cancelling_stops_every_step_and_is_final(opened: Opened) -> None:
    async with opened() as runs:
        run = await runs.submit(run_of(loop(), "hang"))
        await asyncio.sleep(0.05)
        assert runs.agents["loop"].running == 1
        cancelled = await runs.cancel(run)
        assert (cancelled.status, runs.agents["loop"].running, runs.live) == (Status.CANCELLED, 0, {})
        assert (await runs.cancel(cancelled)).status is Status.CANCELLED
        with pytest.raises(InputError, match="is cancelled: nothing waits"):
            await runs.answer(cancelled, "x")
        assert (await told_to_the_end(runs.follow(run)))[-1].kind is Kind.CANCELLED  # pyright: ignore
    async with opened() as runs:
        assert (await until(runs, run, Status.CANCELLED)).error == ""


async def test_a_failed_run_says_why(opened: Opened) -> None:
    async with opened() as runs:
        run = await runs.submit(run_of(loop(), "fail"))
        assert "this text is not welcome" in (await until(runs, run, Status.FAILED)).error
        slow = replace(runs.limits, run_s=0.1)
        runs.limits = slow
        late = await runs.submit(run_of(loop(), "hang", "run_2"))
        assert "had not ended after 0.1 s of work" in (await until(runs, late, Status.FAILED)).error
        waits = await runs.submit(run_of(reviewed(), "ab", "run_3"))
        await until(runs, waits, Status.REQUIRES_ACTION)
        await asyncio.sleep(0.2)  # a person may take longer than a run
        await runs.answer(waits, "")
        assert (await until(runs, waits, Status.COMPLETED)).values == ("AB!",)
        changed = await runs.submit(run_of(loop(), "ab", "run_4", fingerprint="another"))
        assert "agent 'loop' has changed since" in (await until(runs, changed, Status.FAILED)).error


async def test_a_run_outlives_its_node(
    opened: Opened, clients: dict[str, NodeClient], services: tuple[Services, Services]
) -> None:
    """When all nodes of a pool are gone the run waits; it goes on from its last completed step when one is back."""
    async with opened() as runs, contextlib.AsyncExitStack() as stack:
        run = await runs.submit(run_of(reviewed(), "ab"))
        await until(runs, run, Status.REQUIRES_ACTION)
        clients["python"].fail(NodeDiedError(subject="node 'python'", problem="was shot", way_out="start it"))
        await runs.answer(run, "fine")
        await asyncio.sleep(0.05)
        assert (await runs.find("t", run.id)).status is Status.IN_PROGRESS  # pyright: ignore
        transport = MemoryTransport()
        node = Node(services[1], transport)
        stack.push_async_callback(node.close)
        fresh = await NodeClient.open("python", transport, await node.listen())
        stack.push_async_callback(fresh.close)
        runs.agents["reviewed"].dispatcher.join(fresh)
        assert (await until(runs, run, Status.COMPLETED)).values == ("fine!",)
        events = runs.log.events(run.id)
    assert [each.kind for each in events].count(Kind.RESUMED) >= 1
    assert [each.step for each in events if each.kind is Kind.STEP_ENDED] == ["draft", "approve", "sign"]


async def test_a_tool_that_was_cut_off_is_not_called_again(opened: Opened) -> None:
    async with opened() as runs:
        log: RunLog = runs.log
        run = log.submit(run_of(acting(), "ab"))
        log.append([Entry(run.id, LogEvent(0, Kind.STEP_ENDED, 0.0, "draft", 0, ("AB",)))])
        log.append([Entry(run.id, LogEvent(1, Kind.STEP_STARTED, 0.0, "send", 0))])
    async with opened() as runs:
        unsure = await until(runs, run, Status.UNSURE)
        assert "'send' may run only once and was cut off" in unsure.error


async def test_sessions_remember_what_was_said_once(opened: Opened, tmp_path: Path) -> None:
    store = open_conversations(str(tmp_path / "sessions.db"))
    async with opened(sessions=store) as runs:
        said = (Message("user", "ab"),)
        run = await runs.submit(run_of(loop(), "ab", session="s", said=said))
        await until(runs, run, Status.COMPLETED)
    assert store.history("t", "s") == (*said, Message("assistant", "ABAB!!!!"))


async def test_more_than_may_wait_are_refused(opened: Opened) -> None:
    async with opened(limits=RunLimits(at_once=1, waiting=1)) as runs:
        first = await runs.submit(run_of(loop(), "hang"))
        second = await runs.submit(run_of(loop(), "ab", "run_2"))
        with pytest.raises(OverloadError, match="2 have not ended"):
            await runs.submit(run_of(loop(), "ab", "run_3"))
        assert (await runs.find("t", second.id)).status is Status.QUEUED  # pyright: ignore
        await until(runs, first, Status.COMPLETED)
        await until(runs, second, Status.COMPLETED)
