"""One durable run: driven to its end over deaths of nodes, and waiting for persons as long as they take."""

import asyncio
import logging
from dataclasses import dataclass, field

from weft.core.errors import InputError, NodeDiedError, WeftError
from weft.core.message import Message
from weft.runtime.conversations.store import ConversationStore
from weft.runtime.values import Value, as_text
from weft.serve.agents import ServedAgent
from weft.serve.hints import RunHints
from weft.serve.run import Asked
from weft.serve.runs.journal import Journal
from weft.serve.runs.log import LostLogError
from weft.serve.runs.replay import fingerprint
from weft.serve.runs.run import Kind, LogEvent
from weft.serve.runs.webhooks import Webhooks

RETRY_S = 0.5
LONGEST_RETRY_S = 10.0
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Ending:
    kind: Kind
    values: tuple[Value, ...] = ()
    text: str = ""


@dataclass(slots=True)
class LiveRun:
    """`limit_s` of work, waits for a person and for a place left out. `places`: how many runs go on at once."""

    journal: Journal
    agent: ServedAgent
    places: asyncio.Semaphore
    sessions: ConversationStore | None
    webhooks: Webhooks | None
    limit_s: float
    task: "asyncio.Task[None] | None" = None
    asked: dict[str, tuple[Value, "asyncio.Future[Value]"]] = field(
        default_factory=dict[str, tuple[Value, "asyncio.Future[Value]"]]
    )
    _cancelled: bool = False
    _has_place: bool = False
    _ended: "asyncio.Future[None] | None" = None
    _limit: asyncio.Timeout | None = None

    async def drive(self) -> None:
        try:
            await self._take_place()
            await self._end(await self._to_its_end())
        except asyncio.CancelledError:
            if not self._cancelled:
                raise
            await self._end(Ending(Kind.CANCELLED, text=self._cut_short()))
        except LostLogError as error:
            _log.error("run %s stops here: %s", self.journal.run.id, error)
        except Exception:
            _log.exception("run %s stops here; it goes on when its log is opened again", self.journal.run.id)
        finally:
            self._leave_place()

    async def cancel(self) -> None:
        self._cancelled = True
        await self.stop()

    async def stop(self) -> None:
        """Ends all its steps; the log is left as it is."""
        if self.task is not None:
            self.task.cancel()
            await asyncio.gather(self.task, return_exceptions=True)

    async def answer(self, said: str, step: str) -> None:
        """Durable once it returns. Raises InputError where no step waits, or several do and none is named."""
        name = step or next(iter(self.asked), "")
        if name not in self.asked or (not step and len(self.asked) > 1):
            problem = f"waits for answers to {sorted(self.asked)}" if self.asked else "no step of it waits for a person"
            raise InputError(subject=f"run {self.journal.run.id}", problem=problem, way_out="name one step that waits")
        shown, future = self.asked.pop(name)
        follower = self.journal.follow()
        try:
            future.set_result(_answered(shown, said))
            while (told := await follower.get()) is not None:
                if isinstance(told, LogEvent) and told.step == name and told.kind is Kind.STEP_ENDED:
                    return
        finally:
            self.journal.followers.discard(follower)

    async def _to_its_end(self) -> Ending:
        try:
            async with asyncio.timeout(self.limit_s) as self._limit:
                return await self._over_deaths()
        except TimeoutError:
            problem = f"had not ended after {self.limit_s:g} s of work{self._cut_short(', ')}"
            return Ending(Kind.UNSURE if self.journal.cut else Kind.FAILED, text=problem)

    async def _over_deaths(self) -> Ending:
        """Each time that a node dies the run goes on from its last completed step."""
        if fingerprint(self.agent.deployment.program) != self.journal.run.fingerprint:
            return Ending(Kind.FAILED, text=f"agent {self.agent.name!r} has changed since: submit the run again")
        retry_s = RETRY_S
        while True:
            if cut := self.journal.fold():
                return Ending(Kind.UNSURE, text=_unsure(cut))
            if self.journal.events:
                self.journal.tell(Kind.RESUMED)
            try:
                return await self._once()
            except NodeDiedError as error:
                if cut := self.journal.cut:
                    return Ending(Kind.UNSURE, text=f"{error}; {_unsure(cut)}")
                _log.warning("run %s waits: %s", self.journal.run.id, error)
            await asyncio.sleep(retry_s)
            retry_s = min(2 * retry_s, LONGEST_RETRY_S)

    async def _once(self) -> Ending:
        run, journal = self.journal.run, self.journal
        try:
            hints = RunHints(run.session or None, trace=run.trace, tenant=run.tenant)
            asked = Asked(run.inputs, journal.on_event, run.terms, hints, ask=self._ask, steps=journal)
            outcome = await self.agent.run(asked)
        except (LostLogError, NodeDiedError):
            raise
        except WeftError as error:
            return Ending(Kind.FAILED, text=f"{error}{self._cut_short('; ')}")
        except Exception:
            _log.exception("run %s failed", run.id)
            return Ending(Kind.FAILED, text=f"a fault of the server; its log has {run.id}{self._cut_short('; ')}")
        return Ending(Kind.COMPLETED, outcome.values)

    async def _ask(self, step: str, shown: Value) -> Value:
        """Somebody's answer. Meanwhile the run holds no place, and its time stands still."""
        before = any(each.kind is Kind.ASKED and each.step == step for each in self.journal.events)
        loop, future = asyncio.get_running_loop(), asyncio.get_running_loop().create_future()
        self.asked[step] = (shown, future)
        self.journal.waiting.add(step)
        call = self.webhooks.call_of(self.journal.run) if self.webhooks and not before else None
        await asyncio.shield(self.journal.tell(Kind.ASKED, step=step, values=(shown,), call=call))
        left_s = self._stand_still(loop.time())
        try:
            self._leave_place()
            value = await future
            await self._take_place()
            return value
        finally:
            self.asked.pop(step, None)
            self.journal.waiting.discard(step)
            if self._limit is not None and left_s is not None:
                self._limit.reschedule(loop.time() + left_s)

    def _stand_still(self, now_s: float) -> float | None:
        """What is left of the limit, which ends no more; None where another wait has stopped it already."""
        when = self._limit.when() if self._limit is not None else None
        if self._limit is None or when is None:
            return None
        self._limit.reschedule(None)
        return when - now_s

    async def _take_place(self) -> None:
        await self.places.acquire()
        if self._has_place:  # two steps waited for persons, one came first
            self.places.release()
        self._has_place = True

    def _leave_place(self) -> None:
        if self._has_place:
            self.places.release()
        self._has_place = False

    async def _end(self, ending: Ending) -> None:
        """Logs the first of its endings."""
        if self._ended is not None:
            await asyncio.shield(self._ended)
            return
        run = self.journal.run
        if ending.kind is Kind.COMPLETED and self.sessions is not None and run.session:
            ending = await self._remembered(ending, self.sessions)
        self.journal.waiting.clear()
        call = self.webhooks.call_of(run) if self.webhooks is not None else None
        self._ended = self.journal.tell(ending.kind, values=ending.values, text=ending.text, call=call)
        await asyncio.shield(self._ended)
        if self.agent.driver is not None and not run.session:
            self.agent.driver.forget(self.journal.thread)
        if self.webhooks is not None:
            self.webhooks.wake()

    async def _remembered(self, ending: Ending, sessions: ConversationStore) -> Ending:
        """The same once its session has it; a session that cannot take it fails the run, which keeps its answer."""
        run, reply = self.journal.run, Message("assistant", as_text(ending.values[0]) or "")
        try:
            said = (*run.said, reply)
            await asyncio.to_thread(sessions.append, run.tenant, run.session, said, request=run.id)
        except WeftError as error:
            return Ending(Kind.FAILED, ending.values, f"the answer was not remembered: {error}")
        return ending

    def _cut_short(self, before: str = "") -> str:
        return f"{before}{_unsure(self.journal.cut)}" if self.journal.cut else ""


def _unsure(steps: tuple[str, ...]) -> str:
    names = ", ".join(map(repr, dict.fromkeys(steps)))
    return f"{names} may run only once and was cut off: whether it acted is not known"


def _answered(shown: Value, said: str) -> Value:
    """Nothing said lets what was shown go on as it is; to a conversation an answer is one more message."""
    if not said:
        return shown
    return (*shown, Message("user", said)) if isinstance(shown, tuple) else said
