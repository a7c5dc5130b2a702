"""One run of a program on the server's side: its model calls where they were planned, its questions to persons, and
what is said of its answer. With a log nothing that was answered before a crash is asked again."""

import asyncio
import hashlib
import json
import logging
import time
from collections import Counter, defaultdict, deque
from collections.abc import Coroutine, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, cast

import msgspec

from weft.core.errors import InputError, RunError, WeftError
from weft.core.metrics import StepRecord
from weft.policy.agent_run import Completed, Ready
from weft.runtime.messages import NO_TOKEN
from weft.runtime.values import Json, Value, plain
from weft.serve.agents import ServedAgent
from weft.serve.api.chat import ChatRun
from weft.serve.api.errors import ApiError
from weft.serve.api.http import parsed
from weft.serve.api.reply import all_of
from weft.serve.api.schema import ChatRequest
from weft.serve.events import ReplyPiece, TokenPiece
from weft.serve.hints import RunHints
from weft.serve.model_calls import model_of
from weft.serve.programs.wire import Answer, Ask, Waiting, encode
from weft.serve.run import AskPerson, OnEvent, StepLog

ASKED, ANSWER = "asked", "answer"
_log = logging.getLogger(__name__)


class Remembered:
    """What the log has of answers, by what was asked: of models, and of persons."""

    def __init__(self, done: Sequence[Completed]) -> None:
        self._answers = defaultdict[str, deque[object]](deque)
        for each in done:
            for value in each.outputs:
                if isinstance(value, Json):
                    kept = cast("dict[str, object]", value.value)
                    self._answers[str(kept[ASKED])].append(kept[ANSWER])

    def take(self, asked: str) -> object | None:
        """Each once, in their order."""
        answers = self._answers.get(asked)
        return answers.popleft() if answers else None


@dataclass(slots=True)
class ProgramRun:
    """`calls` by their names in the plan that it began on. `ended` has its text. `works` are answers under way. `told`
    is what was said of its answer."""

    id: str
    name: str
    calls: Mapping[str, ServedAgent]
    hints: RunHints
    on_event: OnEvent
    log: StepLog | None
    ask: AskPerson | None
    stream: bool
    ended: "asyncio.Future[str]"
    began_s: float = field(default_factory=time.monotonic)
    records: list[StepRecord] = field(default_factory=list[StepRecord])
    works: "set[asyncio.Task[None]]" = field(default_factory=set["asyncio.Task[None]"])
    told: str = ""
    _visits: Counter[str] = field(default_factory=Counter[str])
    _said: dict[int, str] = field(default_factory=dict[int, str])
    _replying: set[int] = field(default_factory=set[int])
    _remembered: Remembered = field(init=False)

    def __post_init__(self) -> None:
        done = self.log.done if self.log is not None else ()
        self._remembered = Remembered(done)
        for step, visit, _ in done:
            self._visits[step] = max(self._visits[step], visit + 1)

    async def answer(self, ask: Ask) -> Answer:
        """Of a model, from where the plan has the call."""
        asked = f"{ask.place} {hashlib.sha256(msgspec.json.encode(ask.request, order='deterministic')).hexdigest()}"
        if (known := self._remembered.take(asked)) is not None:
            return Answer(ask.ask, cast("dict[str, object]", known))
        try:
            return Answer(ask.ask, await self._completed(ask, call_of(self.calls, ask), asked))
        except Exception as error:  # whatever it is: the program waits for an answer
            if not isinstance(error, ApiError | WeftError):
                _log.exception("a model call of %s", self.name)
            return Answer(ask.ask, refused=str(error))

    async def persons(self, waiting: Sequence[Waiting]) -> dict[str, object]:
        """What each of them said, by what was asked."""
        names = Counter[str]()
        asking = list[Coroutine[Any, Any, object]]()
        for each in waiting:
            names[each.node] += 1
            step = each.node if names[each.node] == 1 else f"{each.node}#{names[each.node]}"
            asking.append(self._person(each, step))
        return dict(zip((each.id for each in waiting), await all_of(asking), strict=True))

    def replies(self, ask: int) -> None:
        """What this call says is the run's answer."""
        self._replying.add(ask)
        self._tell(ask)

    def tell_rest(self, text: str) -> None:
        """Once it has ended. Raises RunError where it was told something else than it gave in the end."""
        if not text.startswith(self.told):
            problem = "changed its answer after it was told"
            raise RunError(subject=f"program {self.name!r}", problem=problem, way_out="ask without stream")
        if self.told and len(text) > len(self.told):
            self.on_event(ReplyPiece(text[len(self.told) :]))

    @property
    def now_s(self) -> float:
        return time.monotonic() - self.began_s

    @property
    def left_s(self) -> float | None:
        return None if self.hints.within_s is None else self.hints.within_s - self.now_s

    async def _completed(self, ask: Ask, call: ServedAgent, asked: str) -> dict[str, object]:
        hints = replace(self.hints, session=self.hints.session or self.id, within_s=self.left_s)
        chat = ChatRun.begun(call, parsed(encode(ask.request), ChatRequest), hints=hints)
        steps, started_s = call.deployment.program.steps, self.now_s
        visit = self._visits[steps[0].name]
        for step in steps:
            self._visits[step.name] = visit + 1
            if self.log is not None:
                await self.log.starting(Ready(step, visit, ()))

        def on_piece(piece: str | bytes) -> None:
            if isinstance(piece, str):
                self.on_event(TokenPiece(steps[-1].name, visit, NO_TOKEN, piece))
                if ask.replies:
                    self._said[ask.ask] = self._said.get(ask.ask, "") + piece
                    self._tell(ask.ask)

        wanted = self.stream and (ask.replies or self.log is not None)
        completion = await chat.completion(on_piece if wanted else None)
        answer = cast("dict[str, object]", msgspec.to_builtins(completion))
        assert chat.replies[0].outcome is not None
        await self._note(chat.replies[0].outcome.record.steps, visit, started_s, Json({ASKED: asked, ANSWER: answer}))
        return answer

    async def _note(self, steps: tuple[StepRecord, ...], visit: int, at_s: float, value: Value) -> None:
        for step in steps:
            first_s = None if step.first_output_s is None else step.first_output_s + at_s
            times = {"started_s": step.started_s + at_s, "ended_s": step.ended_s + at_s, "first_output_s": first_s}
            record = msgspec.structs.replace(step, visit=visit, **times)
            self.records.append(record)
            if self.log is not None:
                values = (value,) if step is steps[-1] else ()
                await self.log.ended(Completed(step.step, visit, values), values, record)

    async def _person(self, waiting: Waiting, step: str) -> object:
        if (known := self._remembered.take(waiting.id)) is not None:
            return known
        if self.ask is None:
            problem = f"waits for a person: {str(waiting.shown)[:300]}"
            raise InputError(subject=f"program {self.name!r}", problem=problem, way_out="submit it to /v1/runs")
        shown = waiting.shown if isinstance(waiting.shown, str) else Json(waiting.shown)
        said = _meant(await self.ask(step, shown))
        if self.log is not None:
            visit, values = self._visits[step], (Json({ASKED: waiting.id, ANSWER: said}),)
            self._visits[step] += 1
            await self.log.ended(Completed(step, visit, values), values, None)
        return said

    def _tell(self, ask: int) -> None:
        said = self._said.get(ask, "")
        if ask in self._replying and len(said) > len(self.told) and said.startswith(self.told):
            new, self.told = said[len(self.told) :], said
            self.on_event(ReplyPiece(new))


def call_of(calls: Mapping[str, ServedAgent], ask: Ask) -> ServedAgent:
    """The call that the plan has at this node; of several, and where it has none, one of the same model."""
    here = [name for name in calls if name == ask.node or name.startswith((f"{ask.node}.", f"{ask.node}["))]
    same = [name for name in here or calls if model_of(calls[name].deployment) == ask.model]
    found = next(iter((*same, *here)), None)
    if found is None:
        raise RunError(
            subject=f"node {ask.node!r}",
            problem=f"calls {ask.model!r}, the plan has {', '.join(calls)}",
            way_out="import the program with --trace, so that the plan knows this call",
        )
    return calls[found]


def _meant(said: Value) -> object:
    """A JSON object, list, true, false or null that somebody wrote is that; all else is text."""
    if not isinstance(said, str):
        return plain(said)
    try:
        value = cast("object", json.loads(said))
    except ValueError:
        return said
    return said if isinstance(value, str | int | float) and not isinstance(value, bool) else value
