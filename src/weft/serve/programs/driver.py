"""Runs of a program that drives itself: its process, and its model calls on the pools that the plan gave them."""

import asyncio
import contextlib
import logging
import sys
import time
from collections import Counter, deque
from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass, field, replace
from typing import cast

import msgspec

from weft.core.deployment import Deployment
from weft.core.errors import DeadlineError, InputError, NodeDiedError, ProgramError, RunError, WeftError
from weft.core.message import Message
from weft.core.metrics import RequestRecord, StepRecord
from weft.runtime.values import Value
from weft.serve.agents import ServedAgent
from weft.serve.api.chat import ChatRun
from weft.serve.api.errors import ApiError
from weft.serve.api.http import parsed
from weft.serve.api.schema import ChatRequest
from weft.serve.api.tool_schema import CalledFunction, ToolCallPart
from weft.serve.dispatch import Dispatcher
from weft.serve.hints import RunHints
from weft.serve.ids import fresh
from weft.serve.model_calls import model_calls, model_of
from weft.serve.programs.wire import (
    Answer,
    Ask,
    Begin,
    Cancel,
    Ended,
    Failed,
    FromProgram,
    Loaded,
    NotLoaded,
    ToProgram,
    encode,
    from_program,
)
from weft.serve.run import RunOutcome

SCHEME = "langgraph:"
LOAD_S = 60.0
MOST_BYTES = 64 << 20  # of one message
STDERR_LINES = 30
_log = logging.getLogger(__name__)


def drives_itself(deployment: Deployment) -> bool:
    return deployment.source.startswith(SCHEME)


@dataclass(slots=True)
class _Run:
    """`ended` has its text. `asks` are the model calls under way."""

    hints: RunHints
    ended: "asyncio.Future[str]"
    began_s: float
    records: list[StepRecord] = field(default_factory=list[StepRecord])
    visits: Counter[str] = field(default_factory=Counter[str])
    asks: "set[asyncio.Task[None]]" = field(default_factory=set["asyncio.Task[None]"])


class ProgramDriver:
    """`async with driving(deployment, dispatcher) as driver`. A program whose process ends fails the runs that it has;
    the next run starts it again."""

    def __init__(self, deployment: Deployment, dispatcher: Dispatcher) -> None:
        self._reference = deployment.source.removeprefix(SCHEME)
        self._name = deployment.program.name
        self._calls = {name: ServedAgent(call, dispatcher) for name, call in model_calls(deployment).items()}
        self._process: asyncio.subprocess.Process | None = None
        self._reading: list[asyncio.Task[None]] = []
        self._runs: dict[str, _Run] = {}
        self._stderr: deque[str] = deque(maxlen=STDERR_LINES)
        self._starting = asyncio.Lock()

    async def start(self) -> None:
        """Waits until the program is loaded. Raises ProgramError where it cannot be."""
        self._process = process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "weft.serve.programs.host", self._reference, self._name),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            limit=MOST_BYTES,
            start_new_session=True,
        )
        self._reading = [asyncio.create_task(self._read_stderr(process))]
        assert process.stdout is not None
        try:
            line = await asyncio.wait_for(process.stdout.readline(), LOAD_S)
        except TimeoutError as error:
            process.kill()
            await process.wait()
            raise self._not_loaded(f"is not loaded after {LOAD_S:g} s", "load less at import") from error
        match from_program.decode(line) if line else None:
            case Loaded():
                self._reading.append(asyncio.create_task(self._read(process)))
            case NotLoaded(problem, way_out):
                await process.wait()
                raise self._not_loaded(problem, way_out)
            case _:
                await process.wait()
                raise self._not_loaded(f"ends with exit code {process.returncode}", self._tail())

    async def stop(self) -> None:
        if self._process is not None and self._process.returncode is None:
            self._process.kill()  # it holds nothing: its runs are over or lost
            await self._process.wait()
        await asyncio.gather(*self._reading)

    async def run(self, inputs: Mapping[str, Value], hints: RunHints) -> RunOutcome:
        """Raises InputError for what the graph does not take, RunError for what went wrong in it."""
        async with self._starting:
            if self._process is None or self._process.returncode is not None:
                await self.start()
        id = fresh()
        run = _Run(hints, asyncio.get_running_loop().create_future(), time.monotonic())
        self._runs[id] = run
        try:
            async with asyncio.timeout(hints.within_s):
                self._say(Begin(id, _messages(inputs)))
                text = await run.ended
        except TimeoutError:
            raise self._late(hints) from None
        finally:
            self._runs.pop(id, None)
            for ask in run.asks:
                ask.cancel()
            if not run.ended.done() or run.ended.cancelled():
                self._say(Cancel(id))
        record = RequestRecord(self._name, tuple(run.records), time.monotonic() - run.began_s)
        return RunOutcome((text,), record, {})

    async def _read(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdout is not None
        try:
            while line := await process.stdout.readline():
                self._heard(from_program.decode(line))
        except ValueError as error:  # more than MOST_BYTES, or not ours
            self._stderr.append(f"weft: {error}")
            process.kill()
        await process.wait()
        for id in tuple(self._runs):
            self._end(id, self._died(process.returncode))

    def _heard(self, message: FromProgram) -> None:
        match message:
            case Ask() as ask if ask.run in self._runs:
                run = self._runs[ask.run]
                task = asyncio.create_task(self._answer(run, ask))
                run.asks.add(task)
                task.add_done_callback(run.asks.discard)
            case Ended(id, text) if id in self._runs:
                self._end(id, text)
            case Failed(id) as failed if id in self._runs:
                self._end(id, self._failure(failed))
            case _:
                pass  # of a run that was cancelled

    def _end(self, id: str, how: str | Exception) -> None:
        ended = self._runs[id].ended
        if ended.done():
            return
        if isinstance(how, str):
            ended.set_result(how)
        else:
            ended.set_exception(how)

    async def _answer(self, run: _Run, ask: Ask) -> None:
        try:
            chat = ChatRun.begun(self.call_of(ask), parsed(encode(ask.request), ChatRequest), hints=_hints(run, ask))
            started_s = time.monotonic() - run.began_s
            completion = await chat.completion()
        except Exception as error:  # whatever it is: the program waits for an answer
            if not isinstance(error, ApiError | WeftError):
                _log.exception("a model call of %s", self._name)
            self._say(Answer(ask.ask, refused=str(error)))
            return
        for reply in chat.replies:
            assert reply.outcome is not None
            self._note(run, reply.outcome.record.steps, started_s)
        self._say(Answer(ask.ask, cast("dict[str, object]", msgspec.to_builtins(completion))))

    def _note(self, run: _Run, steps: tuple[StepRecord, ...], at_s: float) -> None:
        for step in steps:
            first_s = None if step.first_output_s is None else step.first_output_s + at_s
            times = {"started_s": step.started_s + at_s, "ended_s": step.ended_s + at_s, "first_output_s": first_s}
            run.records.append(replace(step, visit=run.visits[step.step], **times))
            run.visits[step.step] += 1

    def call_of(self, ask: Ask) -> ServedAgent:
        """The call that the plan has at this node; of several, and where it has none, one of the same model."""
        here = [name for name in self._calls if name == ask.node or name.startswith((f"{ask.node}.", f"{ask.node}["))]
        same = [name for name in here or self._calls if model_of(self._calls[name].deployment) == ask.model]
        found = next(iter((*same, *here)), None)
        if found is None:
            raise RunError(
                subject=f"node {ask.node!r}",
                problem=f"calls {ask.model!r}, the plan has {', '.join(self._calls)}",
                way_out="import the program with --trace, so that the plan knows this call",
            )
        return self._calls[found]

    def _say(self, message: ToProgram) -> None:
        process = self._process
        if process is not None and process.returncode is None and process.stdin is not None:
            process.stdin.write(encode(message) + b"\n")

    async def _read_stderr(self, process: asyncio.subprocess.Process) -> None:
        assert process.stderr is not None
        while chunk := await process.stderr.readline():
            self._stderr.append(chunk.decode(errors="replace").rstrip())

    def _tail(self) -> str:
        return "its stderr ends with: " + ("\n  ".join(self._stderr) or "nothing")

    def _not_loaded(self, problem: str, way_out: str) -> ProgramError:
        return ProgramError(subject=f"program {self._reference!r}", problem=problem, way_out=way_out)

    def _failure(self, failed: Failed) -> InputError | RunError:
        kind = InputError if failed.wrong_input else RunError
        return kind(subject=f"program {self._name!r}", problem=failed.problem, way_out=failed.way_out)

    def _late(self, hints: RunHints) -> DeadlineError:
        problem = f"has not ended within {hints.within_s:g} s"
        return DeadlineError(subject=f"program {self._name!r}", problem=problem, way_out="ask with a later deadline")

    def _died(self, code: int | None) -> NodeDiedError:
        return NodeDiedError(
            subject=f"program {self._name!r}", problem=f"ended with exit code {code}", way_out=self._tail()
        )


@contextlib.asynccontextmanager
async def driving(deployment: Deployment, dispatcher: Dispatcher) -> AsyncGenerator[ProgramDriver]:
    driver = ProgramDriver(deployment, dispatcher)
    try:
        await driver.start()
        yield driver
    finally:
        await driver.stop()


def _hints(run: _Run, ask: Ask) -> RunHints:
    """The calls of a run are one conversation: the next goes where the cache of the last one is."""
    left_s = None if run.hints.within_s is None else run.hints.within_s - (time.monotonic() - run.began_s)
    return replace(run.hints, session=run.hints.session or ask.run, within_s=left_s)


def _messages(inputs: Mapping[str, Value]) -> list[dict[str, object]]:
    (given,) = inputs.values()
    if isinstance(given, str):
        return [{"role": "user", "content": given}]
    return [_spelt(each) for each in cast("tuple[Message, ...]", given)]


def _spelt(message: Message) -> dict[str, object]:
    said: dict[str, object] = {"role": message.role, "content": message.content}
    if message.calls:
        called = [ToolCallPart(each.id, CalledFunction(each.name, each.arguments)) for each in message.calls]
        said["tool_calls"] = msgspec.to_builtins(called)
    return {**said, "tool_call_id": message.call_id} if message.call_id else said
