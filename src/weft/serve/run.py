"""Driving one agent run on live nodes: policy.AgentRun says what is ready, the plan's routes say where it runs."""

import asyncio
import secrets
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, cast

from weft.core.deployment import Deployment
from weft.core.errors import DeploymentError
from weft.core.metrics import RequestRecord, StepRecord
from weft.core.program import StepKind
from weft.policy.agent_run import AgentRun, Completed, Ready
from weft.runtime.client import CallResult, NodeClient
from weft.runtime.messages import StepMetrics, Token
from weft.runtime.values import KvHandle, Value
from weft.serve.events import AudioPiece, RunEvent, StepEnded, StepStarted, TokenPiece
from weft.serve.standins import StandIns

OnEvent = Callable[[RunEvent], None]
AskPerson = Callable[[str, Value], Awaitable[Value]]
"""A step that waits for a person, and what it shows → what the person makes of it."""


class StepLog(Protocol):
    """What makes a run durable (serve/runs)."""

    @property
    def done(self) -> Sequence[Completed]:
        """Steps that have run before, and are not run again."""
        ...

    async def starting(self, ready: Ready) -> None:
        """The step runs once this returns."""
        ...

    async def ended(self, completed: Completed, values: tuple[Value, ...], record: StepRecord) -> None:
        """What rests on the step runs once this returns."""
        ...


@dataclass(frozen=True, slots=True)
class RunOutcome:
    """`late_s` is how far the emulated steps fell behind the plan's pace, by step name; empty if none did."""

    values: tuple[Value, ...]
    record: RequestRecord
    late_s: Mapping[str, float]


async def run_agent(
    deployment: Deployment,
    clients: Mapping[str, NodeClient],
    inputs: Mapping[str, Value],
    on_event: OnEvent,
    ask: AskPerson | None = None,
    steps: StepLog | None = None,
) -> RunOutcome:
    """Runs the agent once. Independent ready steps run side by side. The death of a node fails the run at once, unless
    another of `clients` can do its steps: then a cache that went with it is prefilled again. `ask` answers its
    interrupts; without it the first one fails the run. With `steps` it goes on where it was, and logs what it does."""
    return await _LiveRun(deployment, clients, inputs, on_event, ask, steps).finish()


class _LiveRun:
    def __init__(
        self,
        deployment: Deployment,
        clients: Mapping[str, NodeClient],
        inputs: Mapping[str, Value],
        on_event: OnEvent,
        ask: AskPerson | None,
        steps: StepLog | None,
    ) -> None:
        self._agent = deployment.program.name
        self._clients = {route.step: _client(clients, route.step, route.pool) for route in deployment.routes}
        self._stand_ins = StandIns(self._clients, clients.values())
        self._on_event = on_event
        self._ask = ask
        self._steps = steps
        self._run, self._first = AgentRun.resume(deployment.program, inputs, steps.done if steps else ())
        self._tasks: set[asyncio.Task[Completed]] = set()
        self._records: list[StepRecord] = []
        self._late_s: dict[str, float] = {}
        self._handles: list[KvHandle] = []
        self._trace = f"00-{secrets.token_hex(16)}-{secrets.token_hex(8)}-01"  # the steps of a run are one trace
        self._began_s = time.monotonic()

    async def finish(self) -> RunOutcome:
        try:
            self._start(self._first)
            while self._run.result is None:
                for completed in await self._next_completions():
                    self._start(self._run.complete(completed))
        except BaseException:
            await self._clean_up()
            raise
        record = RequestRecord(self._agent, tuple(self._records), self._now_s())
        return RunOutcome(cast("tuple[Value, ...]", self._run.result), record, self._late_s)

    def _start(self, ready_steps: list[Ready]) -> None:
        self._tasks.update(asyncio.create_task(self._run_step(ready)) for ready in ready_steps)

    async def _next_completions(self) -> list[Completed]:
        self._stand_ins.check()
        deaths = {client.died for client in self._stand_ins.watched}
        await asyncio.wait({*self._tasks, *deaths}, return_when=asyncio.FIRST_COMPLETED)
        self._stand_ins.check()
        ended = [task for task in self._tasks if task.done()]
        self._tasks.difference_update(ended)
        return [task.result() for task in ended]

    async def _run_step(self, ready: Ready) -> Completed:
        if self._steps is not None:
            await self._steps.starting(ready)
        step, client = ready.step, self._stand_ins.client(ready.step, ready.inputs)
        started_s, first_output_s = self._now_s(), list[float]()
        self._on_event(StepStarted(step.name, ready.visit, client.name, client.info.device, started_s))

        def on_stream(piece: Token | bytes) -> None:
            first_output_s.append(self._now_s())
            if isinstance(piece, Token) and step.kind is StepKind.PREFILL and len(first_output_s) > 1:
                return  # its one token was told before its node died
            if isinstance(piece, Token):
                self._on_event(TokenPiece(step.name, ready.visit, piece.token, piece.text, piece.logprobs))
            else:
                self._on_event(AudioPiece(step.name, ready.visit, piece))

        def call(client: NodeClient, job: Ready) -> Awaitable[CallResult]:
            told = on_stream if job is ready else _ignore  # else a prefill again, whose token was told
            return client.call(job.step, cast("tuple[Value, ...]", job.inputs), told, self._trace)

        if step.kind is StepKind.INTERRUPT and self._ask is not None:
            shown = cast("tuple[Value, ...]", ready.inputs)[0]
            result = CallResult((await self._ask(step.name, shown),), StepMetrics())
        else:
            client, result = await self._stand_ins.call(ready, call)
        record = self._record(ready, client, result, started_s, first_output_s[0] if first_output_s else None)
        completed = Completed(step.name, ready.visit, result.outputs)
        if self._steps is not None:
            await self._steps.ended(completed, result.outputs, record)
        return completed

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
        )
        self._records.append(record)
        if metrics.late_s > 0:
            self._late_s[name] = self._late_s.get(name, 0.0) + metrics.late_s
        self._handles.extend(value for value in result.outputs if isinstance(value, KvHandle))
        self._on_event(StepEnded(record, metrics, result.outputs, result.ending))
        return record

    async def _clean_up(self) -> None:
        """A run that failed leaves no step running and no KV behind on the nodes that live."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        by_address = {client.address: client for client in self._stand_ins.clients if not client.died.done()}
        for handle in self._handles:
            if handle.address in by_address:
                await by_address[handle.address].release(handle.sequence)

    def _now_s(self) -> float:
        return time.monotonic() - self._began_s


def _ignore(_: Token | bytes) -> None: ...


def _client(clients: Mapping[str, NodeClient], step: str, pool: str) -> NodeClient:
    if pool not in clients:
        raise DeploymentError(
            subject=f"step {step!r}",
            problem=f"is placed on pool {pool!r}, the fleet runs {sorted(clients)}",
            way_out="start the nodes of this deployment (serve.placement.node_specs)",
        )
    return clients[pool]
