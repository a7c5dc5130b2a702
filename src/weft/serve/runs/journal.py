"""A live run's side of the log: its steps are written down as they start and end, and told to whoever follows it."""

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from weft.core.deployment import Deployment
from weft.core.metrics import StepRecord
from weft.policy.agent_run import Completed, Ready
from weft.runtime.messages import Ending
from weft.runtime.values import Value
from weft.serve.cost import step_usd
from weft.serve.events import RunEvent, StepEnded, TokenPiece
from weft.serve.repeats import may_run_twice
from weft.serve.runs.log import Call, Entry
from weft.serve.runs.replay import Replay, completions, replay
from weft.serve.runs.run import Kind, LogEvent, Run, Status
from weft.serve.runs.writer import Writer

BEHIND = 10_000  # events that may wait for one follower; who is further behind asks again from where it is


@dataclass(frozen=True, slots=True)
class Delta:
    """Text of a step that has not ended: `text` stands at `offset` of it. It is not logged."""

    step: str
    visit: int
    offset: int
    text: str


Told = LogEvent | Delta
Used = Callable[[str, int, float], None]
"""Hears the tenant, tokens and dollars of each step that has run."""


def nobody_counts(tenant: str, tokens: int, usd: float) -> None: ...


def thread_of(tenant: str, session: str) -> str:
    """What a program that drives itself calls a session."""
    return f"{tenant}/{session}"


@dataclass(slots=True)
class Journal:
    """`events`: what the log has of the run. `said` so far by steps that are under way, `endings` of those that are
    about to end; `waiting` for a person. `drives_itself`: its program does, so its steps are folded by nobody here."""

    run: Run
    deployment: Deployment
    writer: Writer
    clock: Callable[[], float]
    events: list[LogEvent]
    used: Used = nobody_counts
    done: tuple[Completed, ...] = ()
    said: dict[tuple[str, int], str] = field(default_factory=dict[tuple[str, int], str])
    followers: set["asyncio.Queue[Told | None]"] = field(default_factory=set["asyncio.Queue[Told | None]"])
    under_way: dict[tuple[str, int], None] = field(default_factory=dict[tuple[str, int], None])
    waiting: set[str] = field(default_factory=set[str])
    endings: dict[tuple[str, int], Ending] = field(default_factory=dict[tuple[str, int], Ending])
    drives_itself: bool = False
    _next: int = 0
    _status: Status = Status.QUEUED

    def __post_init__(self) -> None:
        self._next = self.events[-1].number + 1 if self.events else 0

    def fold(self) -> tuple[str, ...]:
        """Sets `done`; the steps that may run once and were cut off."""
        if self.drives_itself:
            found = Replay(completions(self.events), ())
        else:
            found = replay(self.deployment.program, self.run.inputs, self.events)
        self.done = found.done
        self.said.clear()
        self.under_way.clear()
        return found.cut

    @property
    def run_id(self) -> str:
        return self.run.id

    @property
    def thread(self) -> str:
        return thread_of(self.run.tenant, self.run.session) if self.run.session else self.run.id

    @property
    def cut(self) -> tuple[str, ...]:
        """Steps that may run once and are under way."""
        once = {step.name for step in self.deployment.program.steps if not may_run_twice(step)}
        return tuple(step for step, _ in self.under_way if step in once)

    async def starting(self, ready: Ready) -> None:
        """Before the step may act. Only one that may not run again has to be durable before."""
        self.under_way[ready.step.name, ready.visit] = None
        written = self.tell(Kind.STEP_STARTED, step=ready.step.name, visit=ready.visit)
        if not may_run_twice(ready.step):
            await asyncio.shield(written)

    async def ended(self, completed: Completed, values: tuple[Value, ...], record: StepRecord | None) -> None:
        """Durable before anything rests on it."""
        step, visit, _ = completed
        usd = 0.0
        if record is not None:
            usd = step_usd(self.deployment, record)
            self.used(self.run.tenant, record.input_tokens + record.output_tokens, usd)
        how = self.endings.pop((step, visit), None)
        told = self.tell(Kind.STEP_ENDED, step=step, visit=visit, values=values, record=record, usd=usd, ending=how)
        await asyncio.shield(told)
        self.said.pop((step, visit), None)
        self.under_way.pop((step, visit), None)

    def on_event(self, event: RunEvent) -> None:
        if isinstance(event, TokenPiece) and event.text:
            before = self.said.get((event.step, event.visit), "")
            self.said[event.step, event.visit] = before + event.text
            self._publish((Delta(event.step, event.visit, len(before), event.text),))
        elif isinstance(event, StepEnded) and event.ending is not None:
            self.endings[event.record.step, event.record.visit] = event.ending

    def tell(
        self,
        kind: Kind,
        *,
        step: str = "",
        visit: int = 0,
        values: tuple[Value, ...] = (),
        record: StepRecord | None = None,
        usd: float = 0.0,
        text: str = "",
        ending: Ending | None = None,
        call: Callable[[LogEvent], Call | None] | None = None,
    ) -> "asyncio.Future[None]":
        """Logs an event; followers hear of it once it is durable."""
        event = LogEvent(self._next, kind, self.clock(), step, visit, values, record, usd, text, ending)
        self._next += 1
        status = Status.REQUIRES_ACTION if self.waiting else Status.IN_PROGRESS
        changed, self._status = status if status != self._status else None, status
        written = self.writer.write(Entry(self.run.id, event, changed, call(event) if call else None))
        written.add_done_callback(lambda done: self._logged(event, done))
        return written

    def follow(self) -> "asyncio.Queue[Told | None]":
        """What is told from now on, after what open steps have said so far; None: ask again from where you are."""
        follower: asyncio.Queue[Told | None] = asyncio.Queue()
        for (step, visit), text in self.said.items():
            follower.put_nowait(Delta(step, visit, 0, text))
        self.followers.add(follower)
        return follower

    def _logged(self, event: LogEvent, done: "asyncio.Future[None]") -> None:
        if not done.cancelled() and done.exception() is None:
            self.events.append(event)
            self._publish((event,))

    def _publish(self, events: Iterable[Told]) -> None:
        for follower in tuple(self.followers):
            if follower.qsize() > BEHIND:
                self.followers.discard(follower)
                follower.put_nowait(None)
                continue
            for event in events:
                follower.put_nowait(event)
