"""The agents that a server offers, each a deployment on live nodes: run by name, and counted."""

import asyncio
from collections import Counter
from collections.abc import Coroutine, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from weft.core.deployment import Deployment
from weft.core.errors import RunError
from weft.runtime.client import NodeClient
from weft.runtime.values import Value
from weft.serve.admitting import Door
from weft.serve.cost import run_usd
from weft.serve.deadlines import Deadlines
from weft.serve.dispatch import Dispatcher
from weft.serve.hints import EVERYBODY
from weft.serve.history import History
from weft.serve.replies import reply_limits
from weft.serve.run import Asked, LiveRun, RunOutcome

if TYPE_CHECKING:
    from weft.serve.tracing import RunSpans


class Drives(Protocol):
    """Runs an agent in the place of its plan's program: the program itself (serve/programs)."""

    @property
    def keeps(self) -> bool:
        """Whether its runs may be durable."""
        ...

    def run(self, asked: Asked) -> Coroutine[Any, Any, RunOutcome]: ...

    def forget(self, thread: str) -> None:
        """What it keeps of a run or a session."""
        ...


class Follower(Protocol):
    """Goes where an agent goes: the models of its calls that are served by name, the program that drives it."""

    def switch(self, deployment: Deployment, dispatcher: Dispatcher) -> None: ...

    def runs_on(self, dispatcher: Dispatcher) -> int:
        """Runs that are not the agent's own."""
        ...


@dataclass(slots=True)
class ServedAgent:
    """`run_s`: a run may take so long. `usd`: what the runs that ended cost, by the plan's prices."""

    deployment: Deployment
    clients: Mapping[str, NodeClient] | Dispatcher
    run_s: float = 600.0
    running: int = 0
    ended: int = 0
    failed: int = 0
    cancelled: int = 0
    usd: float = 0.0
    door: Door | None = None
    """Refuses runs that would miss the objective; None: takes all."""
    driver: Drives | None = None
    followers: list[Follower] = field(default_factory=list[Follower])
    history: History = field(default_factory=History)
    controlled: bool = False
    spans: "RunSpans | None" = None
    dispatcher: Dispatcher = field(init=False)
    reply_limits: Mapping[str, int | None] = field(init=False)
    """Of the steps whose reply is the agent's."""
    _deadlines: Deadlines = field(init=False)
    _on: Counter[Dispatcher] = field(default_factory=Counter[Dispatcher])

    def __post_init__(self) -> None:
        self._deadlines = Deadlines()
        self.reply_limits = reply_limits(self.deployment.program)
        clients = self.clients
        self.dispatcher = clients if isinstance(clients, Dispatcher) else Dispatcher(self.deployment, clients.values())

    @property
    def name(self) -> str:
        return self.deployment.program.name

    def switch(self, deployment: Deployment, dispatcher: Dispatcher) -> None:
        """Runs begin there from now on; those under way stay where they are."""
        dispatcher.deaths += self.dispatcher.deaths
        self.go_to(deployment, dispatcher)
        for each in self.followers:
            each.switch(deployment, dispatcher)

    def go_to(self, deployment: Deployment, dispatcher: Dispatcher) -> None:
        self.deployment, self.clients, self.dispatcher = deployment, dispatcher, dispatcher
        self.reply_limits = reply_limits(deployment.program)
        if self.door is not None:
            self.door = Door(deployment, dispatcher)

    def runs_on(self, dispatcher: Dispatcher) -> int:
        return self._on[dispatcher] + sum(each.runs_on(dispatcher) for each in self.followers)

    def admit(self, inputs: Mapping[str, Value], tenant: str = EVERYBODY) -> None:
        """Raises OverloadError, with the time after which to try again. To be asked before a run begins."""
        if self.door is not None:
            self.door.admit(inputs, tenant)

    async def run(self, asked: Asked) -> RunOutcome:
        """One run, to its end; cancelling it cancels its steps on their nodes. Raises RunError after `run_s`, unless
        it is logged: who logs it limits it too."""
        plan, dispatcher = self.deployment, self.dispatcher  # it stays there, whatever plan comes meanwhile
        promised = None if self.door is None else self.door.promised_s(asked.inputs, asked.hints.tenant)
        self._count(dispatcher, +1)
        self.history.began()
        try:
            where = plan, dispatcher, asked
            running = self._running(*where) if self.spans is None else self._traced(self.spans, *where)
            outcome = await (running if asked.steps else self._deadlines.within(self.run_s, running))
        except BaseException as error:
            self._broke_off(error)
            raise
        finally:
            self._count(dispatcher, -1)
        self._ended(plan, outcome, promised)
        return outcome

    def _running(self, plan: Deployment, dispatcher: Dispatcher, asked: Asked) -> Coroutine[Any, Any, RunOutcome]:
        return self.driver.run(asked) if self.driver else LiveRun(plan, dispatcher, asked).outcome()

    async def _traced(self, spans: "RunSpans", plan: Deployment, dispatcher: Dispatcher, asked: Asked) -> RunOutcome:
        with spans.run(self.name, asked.hints.trace) as trace:
            below = msgspec.structs.replace(asked, hints=replace(asked.hints, trace=trace))
            return await self._running(plan, dispatcher, below)

    def _broke_off(self, error: BaseException) -> None:
        """Raises what a caller should see in its place."""
        self.cancelled += isinstance(error, asyncio.CancelledError)
        self.failed += not isinstance(error, asyncio.CancelledError)
        if isinstance(error, TimeoutError):
            raise _late(self.name, self.run_s) from None

    def _ended(self, plan: Deployment, outcome: RunOutcome, promised: tuple[float, float] | None) -> None:
        if self.door is not None and promised is not None:
            self.door.turned_out(promised[0], outcome.record)
        self.ended += 1
        self.history.ended(plan, outcome.record)
        self.usd += run_usd(plan, outcome.record)

    def _count(self, dispatcher: Dispatcher, runs: int) -> None:
        """Of those under way."""
        self.running += runs
        self._on[dispatcher] += runs


@dataclass(frozen=True, slots=True)
class Agents:
    by_name: Mapping[str, ServedAgent]

    @property
    def running(self) -> int:
        return sum(agent.running for agent in self.by_name.values())

    @property
    def dead_nodes(self) -> list[str]:
        """Pools that nobody serves now."""
        return sorted({pool for agent in self.by_name.values() for pool in agent.dispatcher.empty_pools})


def _late(agent: str, run_s: float) -> RunError:
    problem, way_out = f"had not ended after {run_s:g} s", "raise --run-limit, or ask for less"
    return RunError(subject=f"a run of {agent!r}", problem=problem, way_out=way_out)
