"""The same policies driven by asyncio instead of a heap of events: tasks, futures, a clock that jumps when all sleep.

It shares nothing with `sim` but the policies, the pace tables and the draws: replicas are coroutines that plan one step
after another, agent runs are tasks that wait for futures.
"""

import asyncio
from dataclasses import dataclass, field
from heapq import heappop, heappush

from weft.core.deployment import Deployment, Pool
from weft.core.program import StepKind
from weft.policy.agent_run import AgentRun, Completed, Ready
from weft.policy.baseline_routers import LeastLoad
from weft.policy.batcher import Batcher, Limits
from weft.policy.kv_blocks import BlockPool
from weft.policy.sequence import Sequence
from weft.policy.workers import Candidates, Worker
from weft.policy.workers import Request as Routed
from weft.sim.kernel import ticks
from weft.sim.pace import PaceTicks
from weft.traces.draws import Draws
from weft.traces.request import Request

Visit = tuple[int, str, int, int, int]
"""Run, step, visit, first tick, last tick."""


class Clock:
    """Virtual ticks. The next sleeper wakes when no task can go on."""

    def __init__(self) -> None:
        self.now = 0
        self._sleepers: list[tuple[int, int, int, asyncio.Future[None]]] = []
        self._slept = 0

    async def until(self, tick: int, rank: int) -> None:
        """Equal ticks go by rank; -1 is before all that is due now."""
        self._slept += 1
        woken = asyncio.get_running_loop().create_future()
        heappush(self._sleepers, (tick, rank, self._slept, woken))
        await woken

    async def run(self, work: "asyncio.Task[None]") -> None:
        loop = asyncio.get_running_loop()
        while not work.done():
            while loop._ready:  # type: ignore[attr-defined]
                await asyncio.sleep(0)
            if work.done() or not self._sleepers:
                break
            self.now, _, _, woken = heappop(self._sleepers)
            woken.set_result(None)
            await asyncio.sleep(0)
        await work


@dataclass
class Tokens:
    """What a call waits for."""

    first: "asyncio.Future[None]" = field(default_factory=lambda: asyncio.get_running_loop().create_future())
    last: "asyncio.Future[None]" = field(default_factory=lambda: asyncio.get_running_loop().create_future())


class Machine:
    """A replica: a coroutine around a Batcher."""

    def __init__(self, clock: Clock, pool: Pool, index: int) -> None:
        assert pool.engine is not None
        self._clock = clock
        self._index = index
        blocks = BlockPool(pool.engine.kv_tokens // pool.engine.block_size, pool.engine.block_size)
        self.batcher = Batcher(Limits(pool.batch_limit, max(pool.engine.step_tokens, pool.batch_limit)), blocks)
        self._pace = PaceTicks(pool.engine, pool.batch_limit)
        self._work = asyncio.Event()

    def submit(self, sequence: Sequence) -> None:
        self.batcher.submit(sequence)
        self._work.set()

    def release(self, sequence: Sequence) -> None:
        self.batcher.release(sequence)
        self._work.set()

    async def serve(self) -> None:
        while True:
            iteration = self.batcher.plan()
            if not iteration.decodes and not iteration.chunks:
                self._work.clear()
                await self._work.wait()
                continue
            n, context = iteration.decodes, iteration.context_tokens
            lasts = self._pace.iteration(iteration) if iteration.chunks else self._pace.run(n, context, 1)
            await self._clock.until(self._clock.now + lasts, self._index)
            outcome = self.batcher.complete(iteration)
            for sequences, which in ((outcome.first, "first"), (outcome.finished, "last")):
                for sequence in sequences:
                    future = getattr(sequence.name, which)
                    if not future.done():
                        future.set_result(None)
            await self._clock.until(self._clock.now, -1)


class World:
    """A fleet without failures, least load first; CPU steps take what they take (enough cores)."""

    def __init__(self, deployment: Deployment, seed: int) -> None:
        self.clock = Clock()
        self.deployment = deployment
        self.seed = seed
        self.visits: list[Visit] = []
        self.machines: dict[str, dict[int, Machine]] = {}
        self.routers: dict[str, LeastLoad] = {}
        index = 0
        for pool in deployment.pools:
            if pool.model is None:
                continue
            made = self.machines[pool.name] = {}
            for _ in range(pool.replicas):
                index += 1
                made[index] = Machine(self.clock, pool, index)
            workers = [_worker(number, pool, machine) for number, machine in made.items()]
            self.routers[pool.name] = LeastLoad(Candidates(workers))

    async def run(self, requests: list[Request]) -> list[Visit]:
        servers = [asyncio.create_task(each.serve()) for made in self.machines.values() for each in made.values()]
        await self.clock.run(asyncio.create_task(self._arrivals(requests)))
        for server in servers:
            server.cancel()
        await asyncio.gather(*servers, return_exceptions=True)
        return sorted(self.visits)

    async def _arrivals(self, requests: list[Request]) -> None:
        runs: list[asyncio.Task[None]] = []
        for number, request in enumerate(requests):
            await self.clock.until(ticks(request.at_s), 0)
            runs.append(asyncio.create_task(self._agent(number, request)))
        await asyncio.gather(*runs)

    async def _agent(self, number: int, request: Request) -> None:
        program, draws = self.deployment.program, Draws(self.seed, number)
        run = AgentRun(program, dict.fromkeys(program.entry.parameters))
        tasks = {asyncio.create_task(self._step(number, request, ready, draws)) for ready in run.start()}
        while run.result is None:
            done, tasks = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                for ready in run.complete(task.result()):
                    tasks.add(asyncio.create_task(self._step(number, request, ready, draws)))

    async def _step(self, number: int, request: Request, ready: Ready, draws: Draws) -> Completed:
        began, step = self.clock.now, ready.step
        match step.kind:
            case StepKind.PREFILL:
                value = await self._prefill(request, ready)
            case StepKind.KV_TRANSFER:
                value = await self._transfer(ready)
            case StepKind.DECODE:
                value = await self._decode(ready)
            case _:
                await self.clock.until(self.clock.now + ticks(float(step.attributes["core_s"])), 0)
                value = int(draws.uniform() >= 0.5) if step.kind is StepKind.CHOOSE else 0
        self.visits.append((number, step.name, ready.visit, began, self.clock.now))
        return Completed(step.name, ready.visit, (value,))

    async def _prefill(self, request: Request, ready: Ready) -> object:
        size, pool = request.calls[0], self.deployment.route(ready.step.name).pool
        decode = self.deployment.route(ready.step.name.replace("prefill", "decode")).pool
        await self._start(self.deployment.pool(pool), size.isl)
        machine = self._choose(pool, size.isl, size.osl)
        tokens, moves = Tokens(), decode != pool
        sequence = Sequence(tokens, size.isl, 1 if moves else size.osl, keep=moves)
        machine.submit(sequence)
        await tokens.first
        return size, tokens, machine, sequence, moves

    async def _start(self, pool: Pool, tokens: int) -> None:
        """What a server does before it lets a prompt in: so many seconds, and a share of the prompt's own."""
        terms = pool.engine
        assert terms is not None
        if terms.start_s == terms.start_share == 0.0:
            return
        own = sum(
            round(terms.pace.prompt_at(min(terms.step_tokens, tokens - at)) * 10**12)
            for at in range(0, tokens, terms.step_tokens)
        )
        await self.clock.until(self.clock.now + ticks(terms.start_s) + round(own * terms.start_share), 0)

    async def _transfer(self, ready: Ready) -> object:
        """One transfer at a time: traces of the test leave the wire idle in between."""
        size, _, source, sequence, moves = ready.inputs[0]  # type: ignore[misc]
        pool = self.deployment.pool(self.deployment.route(ready.step.name).pool)
        goal = None
        if size.osl > 1:
            goal = self._choose(pool.name, size.isl, size.osl)
            link = self.deployment.links[0]
            assert pool.engine is not None
            lasts = round(round(pool.engine.kv_bytes_per_token * size.isl) * (10**12 / link.bytes_per_s))
            await self.clock.until(self.clock.now + lasts + ticks(link.latency_s), 0)
        source.release(sequence)
        return size, Tokens(), goal, sequence, moves

    async def _decode(self, ready: Ready) -> object:
        size, tokens, machine, _, moves = ready.inputs[0]  # type: ignore[misc]
        if moves and size.osl > 1:
            machine.submit(Sequence(tokens, size.isl, size.osl, transferred=True))
        if size.osl > 1:
            await tokens.last
        return 0

    def _choose(self, pool: str, isl: int, osl: int) -> Machine:
        return self.machines[pool][self.routers[pool].route(Routed(isl, osl)).worker.number]


def _worker(number: int, pool: Pool, machine: Machine) -> Worker:
    return Worker(number, str(number), pool.zone, 0.0, 0.0, 0.0, 0.0, pool.batch_limit, machine.batcher)
