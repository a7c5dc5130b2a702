"""The durable runs of a server: submit, follow, cancel, answer. Opening it goes on with what a crash had cut off."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass, field

from weft.core.errors import InputError, OverloadError
from weft.runtime.conversations.store import ConversationStore
from weft.serve.agents import ServedAgent
from weft.serve.runs.journal import Delta, Journal, Told, Used, nobody_counts
from weft.serve.runs.live import LiveRun
from weft.serve.runs.log import RunLog
from weft.serve.runs.run import ENDS, LogEvent, Run
from weft.serve.runs.webhooks import Webhooks
from weft.serve.runs.writer import Writer

CLOSE_S = 5.0


@dataclass(frozen=True, slots=True)
class RunLimits:
    """`at_once` runs go on at a time, up to `waiting` more wait their turn or for a person. One works `run_s` at most.
    Ended ones are kept `keep_s`."""

    at_once: int = 256
    waiting: int = 10_000
    run_s: float = 600.0
    keep_s: float = 30 * 86_400.0


@dataclass(slots=True)
class Runs:
    """`open` it before its first use. `webhooks` None: nobody is called."""

    agents: Mapping[str, ServedAgent]
    log: RunLog
    sessions: ConversationStore | None = None
    webhooks: Webhooks | None = None
    limits: RunLimits = field(default_factory=RunLimits)
    used: Used = nobody_counts
    live: dict[str, LiveRun] = field(default_factory=dict[str, LiveRun])
    writer: Writer = field(init=False)
    _places: asyncio.Semaphore = field(init=False)

    def __post_init__(self) -> None:
        self.writer = Writer(self.log)
        self._places = asyncio.Semaphore(self.limits.at_once)

    async def open(self) -> int:
        """Goes on with all runs that have not ended; how many."""
        unfinished = await asyncio.to_thread(self.log.unfinished)
        known = [run for run in unfinished if run.agent in self.agents]
        for run in known:
            self._begin(run, list(await asyncio.to_thread(self.log.events, run.id)))
        if self.webhooks is not None:
            self.webhooks.start(self.log)
        return len(known)

    async def close(self) -> None:
        """Stops all steps. What has not ended goes on when the log is opened again."""
        if self.webhooks is not None:
            await self.webhooks.close()
        await asyncio.gather(*(run.stop() for run in tuple(self.live.values())))
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_S):
                await self.writer.drain()
        await self.writer.close()

    async def submit(self, run: Run) -> Run:
        """Durable once it returns; the earlier run of the same key, where there is one. Raises OverloadError where too
        many wait, or the log cannot be written."""
        if len(self.live) >= self.limits.at_once + self.limits.waiting:
            raise _overload(f"{len(self.live)} have not ended, the most that may wait")
        if self.writer.failing:
            raise _overload(f"cannot be logged now: {self.writer.failing}")
        kept = await asyncio.to_thread(self.log.submit, run)
        if kept is run:
            self._begin(kept, [])
        return kept

    async def find(self, tenant: str, id: str) -> Run | None:
        return await asyncio.to_thread(self.log.find, tenant, id)

    async def cancel(self, run: Run) -> Run:
        """Once it returns, no step of it runs. A run that has ended stays as it is."""
        if (live := self.live.get(run.id)) is not None:
            await live.cancel()
        return await self.find(run.tenant, run.id) or run

    async def answer(self, run: Run, said: str, step: str = "") -> Run:
        """What a person says to the step that waits for one. Durable once it returns. InputError where none waits."""
        live = self.live.get(run.id)
        if live is None:
            raise InputError(
                subject=f"run {run.id}", problem=f"is {run.status}: nothing waits", way_out="look at its status first"
            )
        await live.answer(said, step)
        return await self.find(run.tenant, run.id) or run

    async def follow(self, run: Run, after: int = -1) -> AsyncGenerator[Told]:
        """Its events with numbers above `after`, then what happens, to its end."""
        while True:
            live = self.live.get(run.id)
            follower = live.journal.follow() if live is not None else None
            try:
                for event in await asyncio.to_thread(self.log.events, run.id, after):
                    after = event.number
                    yield event
                    if event.kind in ENDS:
                        return
                if follower is None:
                    return
                while (told := await follower.get()) is not None:
                    if isinstance(told, Delta):
                        yield told
                    elif told.number > after:
                        after = told.number
                        yield told
                        if told.kind in ENDS:
                            return
            finally:
                if live is not None and follower is not None:
                    live.journal.followers.discard(follower)

    def _begin(self, run: Run, events: list[LogEvent]) -> None:
        agent = self.agents[run.agent]
        clock = self.log.clock
        own = agent.driver is not None
        journal = Journal(run, agent.deployment, self.writer, clock, events, self.used, drives_itself=own)
        live = LiveRun(journal, agent, self._places, self.sessions, self.webhooks, self.limits.run_s)
        self.live[run.id] = live
        live.task = asyncio.create_task(live.drive())
        live.task.add_done_callback(lambda _: self._over(live))

    def _over(self, live: LiveRun) -> None:
        self.live.pop(live.journal.run.id, None)
        for follower in live.journal.followers:
            follower.put_nowait(None)


def _overload(problem: str) -> OverloadError:
    return OverloadError(subject="runs", problem=problem, way_out="try again later")
