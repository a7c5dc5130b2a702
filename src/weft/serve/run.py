"""Driving one agent run on live nodes: policy.AgentRun says what is ready, the plan's routes say where it runs."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, cast

import msgspec

from weft.core.deployment import Deployment
from weft.core.errors import InputError
from weft.core.metrics import RequestRecord, StepRecord
from weft.core.program import StepKind
from weft.policy.agent_run import AgentRun, Completed, Ready
from weft.runtime.client import CallResult, NodeClient
from weft.runtime.messages import StepMetrics, Token
from weft.runtime.values import Value
from weft.serve.calls import Calls, OnToken
from weft.serve.dispatch import Dispatcher
from weft.serve.events import AudioPiece, RunEvent, StepEnded, StepStarted, TokenPiece
from weft.serve.hints import NO_HINTS, RunHints
from weft.serve.replies import NO_TERMS, NOBODYS, Terms, reply_steps

OnEvent = Callable[[RunEvent], None]
AskPerson = Callable[[str, Value], Awaitable[Value]]
"""A step that waits for a person, and what it shows → what the person makes of it."""


class StepLog(Protocol):
    """What makes a run durable (serve/runs)."""

    @property
    def run_id(self) -> str: ...

    @property
    def thread(self) -> str:
        """Names what a program that drives itself keeps: its conversation, or this run."""
        ...

    @property
    def done(self) -> Sequence[Completed]:
        """Steps that have run before, and are not run again."""
        ...

    async def starting(self, ready: Ready) -> None:
        """The step runs once this returns."""
        ...

    async def ended(self, completed: Completed, values: tuple[Value, ...], record: StepRecord | None) -> None:
        """What rests on the step runs once this returns. Without `record` a person did it."""
        ...


@dataclass(frozen=True, slots=True)
class RunOutcome:
    """`late_s` is how far the emulated steps fell behind the plan's pace, by step name; empty if none did."""

    values: tuple[Value, ...]
    record: RequestRecord
    late_s: Mapping[str, float]


class Asked(msgspec.Struct):
    """What is asked of one run, and who hears of it. `ask` answers its interrupts; without it the first one fails the
    run. With `steps` it goes on where it was, and logs what it does. Without `stream` no tokens are told; `on_token`
    hears them in the place of TokenPieces. The steps are below `hints.trace`; where that is empty, below one of the
    run's own."""

    inputs: Mapping[str, Value]
    on_event: OnEvent
    terms: Terms = NO_TERMS
    hints: RunHints = NO_HINTS
    stream: bool = True
    on_token: OnToken | None = None
    ask: AskPerson | None = None
    steps: StepLog | None = None


async def run_agent(
    deployment: Deployment,
    clients: Mapping[str, NodeClient] | Dispatcher,
    inputs: Mapping[str, Value],
    on_event: OnEvent,
    ask: AskPerson | None = None,
    terms: Terms = NO_TERMS,
    *,
    hints: RunHints = NO_HINTS,
) -> RunOutcome:
    """Runs an agent once, on a Dispatcher that remembers from run to run; nodes alone get one for this run."""
    dispatcher = clients if isinstance(clients, Dispatcher) else Dispatcher(deployment, clients.values())
    return await LiveRun(deployment, dispatcher, Asked(inputs, on_event, terms, hints, ask=ask)).outcome()


class LiveRun:
    """One run under way. Independent ready steps run side by side. What a node has under way when it dies goes on at
    another that can do it; without one the run fails at once, with the node's name."""

    __slots__ = (
        "_agent",
        "_asked",
        "_calls",
        "_first",
        "_late_s",
        "_records",
        "_run",
        "_started_s",
        "_tasks",
        "_zero_s",
    )

    def __init__(self, deployment: Deployment, dispatcher: Dispatcher, asked: Asked) -> None:
        done = asked.steps.done if asked.steps is not None else ()
        self._agent = deployment.program.name
        self._asked = asked
        self._run, self._first = AgentRun.resume(deployment.program, asked.inputs, done)
        terms = _by_step(deployment, dispatcher, asked.terms)
        self._calls = Calls(dispatcher, asked.on_token or self._tell, self._sound, asked.hints, terms, asked.stream)
        self._tasks: set[asyncio.Task[Completed]] = set()
        self._records: list[StepRecord] = []
        self._late_s: dict[str, float] = {}
        self._started_s: dict[Ready, float] = {}
        self._zero_s = time.monotonic()

    async def outcome(self) -> RunOutcome:
        run, ready = self._run, self._first
        try:
            while run.result is None:
                if len(ready) == 1 and not self._tasks:  # alone: it needs no task of its own
                    ready = run.complete(await self._step(ready[0]))
                    continue
                self._tasks.update(asyncio.create_task(self._step(each)) for each in ready)
                completions = await self._next_completions()
                ready = [step for completed in completions for step in run.complete(completed)]
        except BaseException:
            await self._clean_up()
            raise
        record = RequestRecord(self._agent, tuple(self._records), self._now_s())
        return RunOutcome(cast("tuple[Value, ...]", run.result), record, self._late_s)

    async def _next_completions(self) -> list[Completed]:
        ended, self._tasks = await asyncio.wait(self._tasks, return_when=asyncio.FIRST_COMPLETED)
        return [task.result() for task in ended]

    async def _step(self, ready: Ready) -> Completed:
        steps = self._asked.steps
        if steps is not None:
            await steps.starting(ready)
        if ready.step.kind is StepKind.INTERRUPT:
            client, result = await self._interrupt(ready)
        else:
            client, result = await self._calls.run(ready, self._started)
        record = self._recorded(ready, client, result)
        completed = Completed(ready.step.name, ready.visit, result.outputs)
        if steps is not None:
            await steps.ended(completed, result.outputs, record)
        return completed

    async def _interrupt(self, ready: Ready) -> tuple[NodeClient, CallResult]:
        ask = self._asked.ask
        if ask is None:
            raise _nobody_answers(ready.step.name)
        client = await self._calls.place(ready.step)
        self._started(ready, client)
        answer = await ask(ready.step.name, cast("tuple[Value, ...]", ready.inputs)[0])
        return client, CallResult((answer,), StepMetrics())

    def _started(self, ready: Ready, client: NodeClient) -> None:
        """It has; or it goes on elsewhere, which is not told again."""
        if ready not in self._started_s:
            self._started_s[ready] = now_s = self._now_s()
            self._asked.on_event(StepStarted(ready.step.name, ready.visit, client.name, client.info.device, now_s))

    def _tell(self, ready: Ready, token: Token) -> None:
        event = TokenPiece(ready.step.name, ready.visit, token.token, token.text, token.logprobs)
        self._asked.on_event(event)

    def _sound(self, ready: Ready, wav: bytes) -> None:
        self._asked.on_event(AudioPiece(ready.step.name, ready.visit, wav))

    def _recorded(self, ready: Ready, client: NodeClient, result: CallResult) -> StepRecord:
        metrics, name, zero_s = result.metrics, ready.step.name, self._zero_s
        first_s = self._calls.first_s.get(ready)
        record = StepRecord(
            name,
            ready.visit,
            client.name,
            client.info.device,
            self._started_s[ready],
            self._now_s(),
            None if first_s is None else first_s - zero_s,
            metrics.input_tokens,
            metrics.output_tokens,
            metrics.bytes_moved,
            metrics.emulated,
            metrics.cached_tokens,
            _label(ready, result),
        )
        self._records.append(record)
        if metrics.late_s > 0:
            self._late_s[name] = self._late_s.get(name, 0.0) + metrics.late_s
        self._asked.on_event(StepEnded(record, metrics, result.outputs, result.ending))
        return record

    async def _clean_up(self) -> None:
        """A run that failed leaves no step running and no KV behind on the nodes that live."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._calls.release()

    def _now_s(self) -> float:
        return time.monotonic() - self._zero_s


def _by_step(deployment: Deployment, dispatcher: Dispatcher, terms: Terms) -> Mapping[str, Terms]:
    """For the calls whose reply is the agent's; of an agent that shares another's dispatcher, its own."""
    if not terms:
        return NOBODYS
    shares = deployment is not dispatcher.deployment
    return dict.fromkeys(reply_steps(deployment.program) if shares else dispatcher.reply_steps, terms)


def _nobody_answers(step: str) -> InputError:
    problem = "waits for a person, and nobody can answer here"
    way_out = "submit the run at /v1/runs and answer there, or give --answer to `weft run`"
    return InputError(subject=f"step {step!r}", problem=problem, way_out=way_out)


def _label(ready: Ready, result: CallResult) -> int | None:
    given = result.outputs[0] if ready.step.kind is StepKind.CHOOSE and result.outputs else None
    return int(given) if isinstance(given, int) else None
