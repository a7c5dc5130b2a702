"""Driving one agent run on live nodes: policy.AgentRun says what is ready, the plan's routes say where it runs."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, cast

from weft.core.deployment import Deployment
from weft.core.errors import InputError
from weft.core.metrics import RequestRecord, StepRecord
from weft.core.program import Program, StepKind
from weft.policy.agent_run import AgentRun, Completed, Ready
from weft.runtime.client import CallResult, NodeClient
from weft.runtime.messages import StepMetrics, Token
from weft.runtime.values import Value
from weft.serve.calls import Calls
from weft.serve.dispatch import Dispatcher
from weft.serve.events import AudioPiece, RunEvent, StepEnded, StepStarted, TokenPiece
from weft.serve.hints import NO_HINTS, RunHints
from weft.serve.ids import fresh
from weft.serve.replies import NO_TERMS, NOBODYS, Terms, reply_steps

OnEvent = Callable[[RunEvent], None]
OnToken = Callable[[str, Token], None]
"""A step and a token of its: what streams to thousands makes no event of each."""
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


async def run_agent(
    deployment: Deployment,
    clients: Mapping[str, NodeClient] | Dispatcher,
    inputs: Mapping[str, Value],
    on_event: OnEvent,
    ask: AskPerson | None = None,
    terms: Terms = NO_TERMS,
    stream: bool = True,
    trace: str = "",
    *,
    hints: RunHints = NO_HINTS,
    steps: StepLog | None = None,
    on_token: OnToken | None = None,
) -> RunOutcome:
    """Runs the agent once, its reply drawn on `terms`. Independent ready steps run side by side. What a node has under
    way when it dies goes on at another that can do it; without one the run fails at once, with the node's name. A
    Dispatcher remembers from run to run; nodes alone get one for this run. `ask` answers its interrupts; without it
    the first one fails the run. With `steps` it goes on where it was, and logs what it does. Without `stream` no
    tokens are told; `on_token` hears them in the place of TokenPieces. `trace`: the W3C traceparent below which its
    steps are; empty: a trace of its own."""
    dispatcher = clients if isinstance(clients, Dispatcher) else Dispatcher(deployment, clients.values())
    live = _LiveRun(deployment.program, inputs, on_event, ask, steps, on_token)
    trace = trace or f"00-{(own := fresh())}-{own[:16]}-01"  # the steps of a run are one trace
    return await live.finish(
        Calls(dispatcher, live.tell, trace, hints, _by_step(deployment, dispatcher, terms), stream)
    )


def _by_step(deployment: Deployment, dispatcher: Dispatcher, terms: Terms) -> Mapping[str, Terms]:
    """For the calls whose reply is the agent's; of an agent that shares another's dispatcher, its own."""
    if not terms:
        return NOBODYS
    shares = deployment is not dispatcher.deployment
    return dict.fromkeys(reply_steps(deployment.program) if shares else dispatcher.reply_steps, terms)


class _LiveRun:
    def __init__(
        self,
        program: Program,
        inputs: Mapping[str, Value],
        on_event: OnEvent,
        ask: AskPerson | None,
        steps: StepLog | None,
        on_token: OnToken | None,
    ) -> None:
        self._on_token = on_token
        self._agent = program.name
        self._on_event = on_event
        self._ask = ask
        self._steps = steps
        self._run, self._first = AgentRun.resume(program, inputs, steps.done if steps else ())
        self._tasks: set[asyncio.Task[Completed]] = set()
        self._records: list[StepRecord] = []
        self._late_s: dict[str, float] = {}
        self._first_s: dict[Ready, float] = {}
        self._began_s = time.monotonic()

    async def finish(self, calls: Calls) -> RunOutcome:
        self._calls = calls
        try:
            ready = self._first
            while self._run.result is None:
                if len(ready) == 1 and not self._tasks:  # alone: it needs no task of its own
                    ready = self._run.complete(await self._run_step(ready[0]))
                    continue
                self._start(ready)
                completions = await self._next_completions()
                ready = [step for completed in completions for step in self._run.complete(completed)]
        except BaseException:
            await self._clean_up()
            raise
        record = RequestRecord(self._agent, tuple(self._records), self._now_s())
        return RunOutcome(cast("tuple[Value, ...]", self._run.result), record, self._late_s)

    def _start(self, ready_steps: list[Ready]) -> None:
        self._tasks.update(asyncio.create_task(self._run_step(ready)) for ready in ready_steps)

    async def _next_completions(self) -> list[Completed]:
        ended, self._tasks = await asyncio.wait(self._tasks, return_when=asyncio.FIRST_COMPLETED)
        return [task.result() for task in ended]

    async def _run_step(self, ready: Ready) -> Completed:
        step = ready.step
        if self._steps is not None:
            await self._steps.starting(ready)
        if step.kind is StepKind.INTERRUPT:
            if self._ask is None:
                raise _nobody_answers(step.name)
            return await self._interrupt(ready, self._ask)
        started_s = list[float]()

        def on_start(client: NodeClient) -> None:
            if not started_s:  # else it goes on elsewhere
                started_s.append(self._now_s())
                told = StepStarted(step.name, ready.visit, client.name, client.info.device, started_s[0])
                self._on_event(told)

        client, result = await self._calls.run(ready, on_start)
        record = self._record(ready, client, result, started_s[0], self._first_s.get(ready))
        return await self._logged(ready, result, record)

    async def _interrupt(self, ready: Ready, ask: AskPerson) -> Completed:
        step, started_s = ready.step, self._now_s()
        client = await self._calls.place(step)
        self._on_event(StepStarted(step.name, ready.visit, client.name, client.info.device, started_s))
        answer = await ask(step.name, cast("tuple[Value, ...]", ready.inputs)[0])
        result = CallResult((answer,), StepMetrics())
        return await self._logged(ready, result, self._record(ready, client, result, started_s, None))

    async def _logged(self, ready: Ready, result: CallResult, record: StepRecord) -> Completed:
        completed = Completed(ready.step.name, ready.visit, result.outputs)
        if self._steps is not None:
            await self._steps.ended(completed, result.outputs, record)
        return completed

    def tell(self, ready: Ready, piece: Token | bytes) -> None:
        step, visit = ready.step.name, ready.visit
        if ready not in self._first_s:
            self._first_s[ready] = self._now_s()
        if not isinstance(piece, Token):
            self._on_event(AudioPiece(step, visit, piece))
        elif self._on_token is not None:
            self._on_token(step, piece)
        else:
            self._on_event(TokenPiece(step, visit, piece.token, piece.text, piece.logprobs))

    def _record(
        self, ready: Ready, client: NodeClient, result: CallResult, started_s: float, first_output_s: float | None
    ) -> StepRecord:
        metrics, name = result.metrics, ready.step.name
        record = StepRecord(
            step=name,
            visit=ready.visit,
            node=client.name,
            device=client.info.device,
            started_s=started_s,
            ended_s=self._now_s(),
            first_output_s=first_output_s,
            input_tokens=metrics.input_tokens,
            output_tokens=metrics.output_tokens,
            bytes_moved=metrics.bytes_moved,
            emulated=metrics.emulated,
            cached_tokens=metrics.cached_tokens,
            label=_label(ready, result),
        )
        self._records.append(record)
        if metrics.late_s > 0:
            self._late_s[name] = self._late_s.get(name, 0.0) + metrics.late_s
        self._on_event(StepEnded(record, metrics, result.outputs, result.ending))
        return record

    async def _clean_up(self) -> None:
        """A run that failed leaves no step running and no KV behind on the nodes that live."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._calls.release()

    def _now_s(self) -> float:
        return time.monotonic() - self._began_s


def _nobody_answers(step: str) -> InputError:
    problem = "waits for a person, and nobody can answer here"
    way_out = "submit the run at /v1/runs and answer there, or give --answer to `weft run`"
    return InputError(subject=f"step {step!r}", problem=problem, way_out=way_out)


def _label(ready: Ready, result: CallResult) -> int | None:
    given = result.outputs[0] if ready.step.kind is StepKind.CHOOSE and result.outputs else None
    return int(given) if isinstance(given, int) else None
