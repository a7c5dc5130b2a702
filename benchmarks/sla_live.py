"""The live side of benchmarks/sla.py: an agent on emulated nodes here, under control, while one is killed."""

import asyncio
import gc
import os
import signal
import time
from collections.abc import Callable, Iterable, Sequence, Set
from dataclasses import dataclass, field
from pathlib import Path

from weft.control.backends.local import LocalFleet
from weft.control.backends.supervise import FAST
from weft.control.loop import Loop
from weft.core.deployment import Deployment, Pool
from weft.plan.staffing import scaling_of
from weft.policy.scaling import Decision, ScalingConfig
from weft.runtime.client import NodeClient
from weft.runtime.spec import NodeSpec
from weft.serve.agents import ServedAgent
from weft.serve.dispatch import Dispatcher, pool_of
from weft.serve.placement import LocalModels, node_specs
from weft.serve.run import Asked
from weft.serve.sla import Call, calls_of, kinds_of

LOOK_S = 0.5
CLOCK_TICKS = os.sysconf("SC_CLK_TCK")

Tell = Callable[[float, str], None]


@dataclass(frozen=True, slots=True)
class Run:
    """`late_s`: how far its emulated steps fell behind their pace here."""

    at_s: float
    took_s: float
    calls: tuple[Call, ...] = ()
    late_s: float = 0.0
    error: str = ""


@dataclass(frozen=True, slots=True)
class Look:
    """`nodes`: by pool, those that are paid for. `ours`, `machine`: shares of this machine's CPU."""

    at_s: float
    nodes: dict[str, int]
    ready: dict[str, int]
    running: int
    ours: float
    machine: float


@dataclass(slots=True)
class Live:
    runs: list[Run] = field(default_factory=list[Run])
    looks: list[Look] = field(default_factory=list[Look])
    decisions: list[tuple[float, str]] = field(default_factory=list[tuple[float, str]])
    start_s: list[float] = field(default_factory=list[float])
    killed: str = ""
    moved: int = 0
    """How often a node lost its replies because it wrote too slowly."""


async def live(
    plan: Deployment,
    models: LocalModels,
    arrivals: Sequence[float],
    asked: Sequence[bytes],
    terms: ScalingConfig | None,
    kill_s: float | None,
    tell: Tell,
    *,
    emulate: bool = True,
) -> Live:
    """The load once, from second 0; without `terms` nobody controls."""
    specs = node_specs(plan, models, emulate=emulate, replicas={pool.name: pool.replicas for pool in plan.pools})
    dispatcher, told = Dispatcher(plan, revival_s=60.0), Live()
    async with LocalFleet(specs, detection=FAST, on_join=dispatcher.join) as fleet:
        agent = ServedAgent(plan, dispatcher)
        first = {spec.name: spec for spec in specs if pool_of(spec.name) == spec.name}
        loop = Loop(agent, _Timed(fleet, told), first, scaling_of(plan, terms or ScalingConfig()))
        work = _Work(plan, agent, fleet, loop, told, tell)
        loop.on_decision = work.decided
        gc.collect()
        gc.freeze()
        tasks = [asyncio.create_task(work.watch())]
        if terms is not None:
            tasks.append(asyncio.create_task(loop.run()))
        if kill_s is not None:
            tasks.append(asyncio.create_task(work.kill(kill_s)))
        told.runs = await work.ask(arrivals, asked)
        told.moved = dispatcher.paces.moved
        for task in tasks:
            task.cancel()
        for outcome in await asyncio.gather(*tasks, return_exceptions=True):
            if isinstance(outcome, Exception):
                raise outcome
    return told


class _Timed:
    """The fleet, with a watch for how long nodes take to start."""

    def __init__(self, fleet: LocalFleet, told: Live) -> None:
        self._fleet, self._told = fleet, told

    @property
    def absent(self) -> Set[str]:
        return self._fleet.absent

    def expect(self, pools: Iterable[Pool]) -> None:
        self._fleet.expect(pools)

    async def add(self, spec: NodeSpec) -> NodeClient:
        began_s = time.monotonic()
        client = await self._fleet.add(spec)
        self._told.start_s.append(time.monotonic() - began_s)
        return client

    async def remove(self, name: str) -> None:
        await self._fleet.remove(name)


class _Work:
    def __init__(
        self, plan: Deployment, agent: ServedAgent, fleet: LocalFleet, loop: Loop, told: Live, tell: Tell
    ) -> None:
        self._agent, self._fleet, self._loop, self._told, self._tell = agent, fleet, loop, told, tell
        self._kinds = kinds_of(plan)
        self._parameter = plan.program.entry.parameters[0]
        self._began_s = time.monotonic()

    def now_s(self) -> float:
        return time.monotonic() - self._began_s

    async def ask(self, arrivals: Sequence[float], asked: Sequence[bytes]) -> list[Run]:
        runs: list[asyncio.Task[Run]] = []
        for number, at_s in enumerate(arrivals):
            await asyncio.sleep(max(0.0, at_s - self.now_s()))
            runs.append(asyncio.create_task(self._run(at_s, asked[number % len(asked)])))
        return list(await asyncio.gather(*runs))

    async def _run(self, at_s: float, wav: bytes) -> Run:
        try:
            outcome = await self._agent.run(Asked({self._parameter: wav}, lambda _: None))
        except Exception as error:  # told, and counted as out of time
            return Run(at_s, self.now_s() - at_s, error=f"{type(error).__name__}: {error}")
        calls = calls_of(outcome.record, self._kinds)
        return Run(at_s, self.now_s() - at_s, calls, sum(outcome.late_s.values()))

    def decided(self, decision: Decision) -> None:
        for action in decision.actions:
            self._told.decisions.append((self.now_s(), str(action)))
            self._tell(self.now_s(), str(action))

    async def kill(self, at_s: float) -> None:
        """The busiest node that writes."""
        await asyncio.sleep(max(0.0, at_s - self.now_s()))
        nodes = [node for node in self._agent.dispatcher.nodes.values() if node.pool and node.pool.model is not None]
        busiest = max(nodes, key=lambda node: node.under_way)
        self._told.killed = busiest.client.name
        os.kill(busiest.client.info.pid, signal.SIGKILL)
        self._tell(self.now_s(), f"killed {self._told.killed}")

    async def watch(self) -> None:
        cpu, since = _cpu_s(self._pids()), time.monotonic()
        while True:
            await asyncio.sleep(LOOK_S)
            now, seen = time.monotonic(), _cpu_s(self._pids())
            span = (now - since) * (os.cpu_count() or 1)
            pools = self._loop.snapshot().pools
            paid = {pool.name: pool.ready + pool.starting + pool.draining for pool in pools}
            ready = {pool.name: pool.ready for pool in pools}
            shares = [max(0.0, after - before) / span for before, after in zip(cpu, seen, strict=True)]
            self._told.looks.append(Look(self.now_s(), paid, ready, self._agent.running, *shares))
            cpu, since = seen, now

    def _pids(self) -> list[int]:
        return [os.getpid(), *(process.pid for process in self._fleet.processes.values())]


def _cpu_s(pids: Sequence[int]) -> tuple[float, float]:
    """Of these processes, and of the whole machine, so far."""
    ours = 0
    for pid in pids:
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
        except OSError:
            continue
        ours += int(fields[11]) + int(fields[12])
    whole = [int(each) for each in Path("/proc/stat").read_text().splitlines()[0].split()[1:]]
    busy = sum(whole[:8]) - whole[3] - whole[4]
    return ours / CLOCK_TICKS, busy / CLOCK_TICKS
