"""Runs of a program that drives itself: its process, and its model calls on the pools that the plan gave them."""

import asyncio
import contextlib
import sys
from collections import deque
from collections.abc import AsyncGenerator, Coroutine, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, cast
from weakref import WeakValueDictionary

import msgspec

from weft.core.deployment import Deployment
from weft.core.errors import DeadlineError, InputError, NodeDiedError, ProgramError, RunError
from weft.core.message import Message
from weft.core.metrics import RequestRecord
from weft.runtime.stderr import read_lines
from weft.runtime.values import Value
from weft.serve.agents import ServedAgent
from weft.serve.api.tool_schema import CalledFunction, ToolCallPart
from weft.serve.dispatch import Dispatcher
from weft.serve.hints import RunHints
from weft.serve.ids import fresh, own_trace
from weft.serve.model_calls import model_calls
from weft.serve.programs.program_run import ProgramRun
from weft.serve.programs.wire import (
    Ask,
    Begin,
    Cancel,
    Ended,
    Failed,
    Forget,
    FromProgram,
    Loaded,
    NotLoaded,
    Replies,
    Resume,
    ToProgram,
    Waiting,
    Waits,
    encode,
    from_program,
)
from weft.serve.run import Asked, RunOutcome

SCHEME = "langgraph:"
LOAD_S = 60.0
MOST_BYTES = 64 << 20  # of one message
STDERR_LINES = 30


def drives_itself(deployment: Deployment) -> bool:
    return deployment.source.startswith(SCHEME)


class ProgramDriver:
    """`async with driving(deployment, dispatcher) as driver`. A program whose process ends fails the runs that it has;
    the next run starts it again. `kept`: the file in which the state of durable runs outlives the process."""

    def __init__(self, deployment: Deployment, dispatcher: Dispatcher, kept: Path | None = None) -> None:
        self._reference = deployment.source.removeprefix(SCHEME)
        self._name = deployment.program.name
        self._kept = kept
        self._calls = _served(deployment, dispatcher)
        self._process: asyncio.subprocess.Process | None = None
        self._reading: list[asyncio.Task[None]] = []
        self._runs: dict[str, ProgramRun] = {}
        self._stderr: deque[str] = deque(maxlen=STDERR_LINES)
        self._starting = asyncio.Lock()
        self._threads = WeakValueDictionary[str, asyncio.Lock]()

    @property
    def keeps(self) -> bool:
        return self._kept is not None

    async def loaded(self) -> None:
        """Starts it where it does not run; whoever needs it first."""
        async with self._starting:
            if self._process is None or self._process.returncode is not None:
                await self.start()

    async def start(self) -> None:
        """Waits until the program is loaded. Raises ProgramError where it cannot be."""
        self._process = process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "weft.serve.programs.host", self._reference, self._name),
            *((str(self._kept),) if self._kept else ()),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            limit=MOST_BYTES,
            start_new_session=True,
        )
        assert process.stdout is not None and process.stderr is not None
        self._reading = [asyncio.create_task(read_lines(process.stderr, self._stderr))]
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
            self._process.kill()  # what it holds is kept, or over
            await self._process.wait()
        await asyncio.gather(*self._reading)

    async def run(self, asked: Asked) -> RunOutcome:
        """With `steps` it goes on where it was. Raises InputError for what the graph does not take, RunError for what
        went wrong in it, NodeDiedError where its process died."""
        ended, steps = asyncio.get_running_loop().create_future(), asked.steps
        hints = asked.hints if asked.hints.trace else replace(asked.hints, trace=own_trace())
        id = steps.run_id if steps else fresh()
        run = ProgramRun(id, self._name, self._calls, hints, asked.on_event, steps, asked.ask, asked.stream, ended)
        async with self._alone(steps.thread if steps else ""):
            text = await self._to_its_end(run, _messages(asked.inputs))
        run.tell_rest(text)
        record = RequestRecord(self._name, tuple(run.records), run.now_s)
        return RunOutcome((text,), record, {})

    def switch(self, deployment: Deployment, dispatcher: Dispatcher) -> None:
        """Calls of runs that begin from now on are made there."""
        self._calls = _served(deployment, dispatcher)

    def runs_on(self, dispatcher: Dispatcher) -> int:
        return 0  # they are the agent's own

    def forget(self, thread: str) -> None:
        """What was kept of it; of a process that has ended it stays."""
        self._say(Forget(self._own(thread)))

    def _own(self, thread: str) -> str:
        """Programs share one file."""
        return f"{self._name}/{thread}" if thread else ""

    async def _to_its_end(self, run: ProgramRun, messages: list[dict[str, object]]) -> str:
        await self.loaded()
        self._runs[run.id] = run
        thread = self._own(run.log.thread if run.log else "")
        try:
            async with asyncio.timeout(run.left_s):
                self._say(Begin(run.id, messages, thread, streams=run.stream and not thread))
                return await run.ended
        except TimeoutError:
            raise self._late(run.hints) from None
        finally:
            self._runs.pop(run.id, None)
            for work in run.works:
                work.cancel()
            if not run.ended.done() or run.ended.cancelled():
                self._say(Cancel(run.id))

    @contextlib.asynccontextmanager
    async def _alone(self, thread: str) -> AsyncGenerator[None]:
        """The runs of one conversation come one after the other."""
        if not thread:
            yield
            return
        async with self._threads.setdefault(thread, asyncio.Lock()):
            yield

    async def _read(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdout is not None
        try:
            while line := await process.stdout.readline():
                self._heard(from_program.decode(line))
        except ValueError as error:  # more than MOST_BYTES, or not ours
            self._stderr.append(f"weft: {error}")
            process.kill()
        await process.wait()
        for run in tuple(self._runs.values()):
            _end(run, self._died(process.returncode))

    def _heard(self, message: FromProgram) -> None:
        if isinstance(message, Loaded | NotLoaded):
            return
        run = self._runs.get(message.run)
        if run is None:  # it was cancelled
            return
        match message:
            case Ask() as ask:
                _work(run, self._answer(run, ask))
            case Waits(_, waiting):
                _work(run, self._resume(run, waiting))
            case Replies(_, ask):
                run.replies(ask)
            case Ended(_, text):
                _end(run, text)
            case Failed() as failed:
                _end(run, self._failure(failed))

    async def _answer(self, run: ProgramRun, ask: Ask) -> None:
        self._say(await run.answer(ask))

    async def _resume(self, run: ProgramRun, waiting: list[Waiting]) -> None:
        try:
            self._say(Resume(run.id, await run.persons(waiting)))
        except Exception as error:
            _end(run, error)

    def _say(self, message: ToProgram) -> None:
        process = self._process
        if process is not None and process.returncode is None and process.stdin is not None:
            process.stdin.write(encode(message) + b"\n")

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
async def driving(
    deployment: Deployment, dispatcher: Dispatcher, kept: Path | None = None, *, wait: bool = True
) -> AsyncGenerator[ProgramDriver]:
    """Without `wait` it loads meanwhile, and its runs wait for that: who was served before must not wait for it."""
    driver = ProgramDriver(deployment, dispatcher, kept)
    loading = asyncio.create_task(driver.loaded())
    try:
        if wait:
            await loading
        yield driver
    finally:
        loading.cancel()
        await asyncio.gather(loading, return_exceptions=True)
        await driver.stop()


def _served(deployment: Deployment, dispatcher: Dispatcher) -> Mapping[str, ServedAgent]:
    return {name: ServedAgent(call, dispatcher) for name, call in model_calls(deployment).items()}


def _work(run: ProgramRun, work: Coroutine[Any, Any, None]) -> None:
    task = asyncio.create_task(work)
    run.works.add(task)
    task.add_done_callback(run.works.discard)


def _end(run: ProgramRun, how: str | Exception) -> None:
    if run.ended.done():
        return
    if isinstance(how, str):
        run.ended.set_result(how)
    else:
        run.ended.set_exception(how)


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
