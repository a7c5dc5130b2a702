"""Two drivers for the same policies: a heap of events, and coroutines under asyncio in virtual time.

Each takes arrivals through fairness, routing and admission to replicas that batch, and keeps caches for tools
as retention says; every decision is logged with its time. Ties of time go alike: replicas by number, then arrivals,
then releases. An iteration's time is a pure function of what it does, so equal decisions mean equal logs, to the bit.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from heapq import heappop, heappush

from weft.core.workload import Slo
from weft.policy.admission import Admission
from weft.policy.batcher import Batcher, Limits
from weft.policy.fairness import FairQueue
from weft.policy.kv_blocks import BlockPool
from weft.policy.prefix_index import PrefixIndex
from weft.policy.retention import Cache, retain
from weft.policy.router import Router, RouterConfig
from weft.policy.sequence import Iteration, Outcome, Sequence
from weft.policy.workers import Candidates, Request, Worker

BLOCK_SIZE, BLOCKS = 4, 40
Log = list[tuple[object, ...]]


@dataclass(frozen=True)
class Arrival:
    at_s: float
    tenant: str
    session: int
    prompt: int
    output: int
    tool_s: float


class Site:
    """The policies and the log; no idea of how time passes."""

    def __init__(self, replicas: int) -> None:
        self.log: Log = []
        self.index = PrefixIndex()
        self.batchers = [self._batcher(number) for number in range(replicas)]
        workers = [
            Worker(number, f"w{number}", "", 1e-3 * (1 + number), 0.01, 1e-3, 1.0, 4, batcher)
            for number, batcher in enumerate(self.batchers)
        ]
        self.router = Router(Candidates(workers), self.index, BLOCK_SIZE, RouterConfig(scan=2, choices=2))
        self.queue = FairQueue[Arrival]()
        self.admission = Admission(Slo("s", e2e_s=3.0))
        self._count = 0

    def arrive(self, arrival: Arrival, now: float) -> None:
        self.queue.push(arrival.tenant, arrival.prompt + 4 * arrival.output, arrival)
        self.log.append((now, "arrived", arrival.tenant, arrival.session))

    def dispatch(self, now: float) -> list[int]:
        """Everything that may start now goes to a replica; returns which."""
        started: list[int] = []
        while len(self.queue) and sum(each.waiting for each in self.batchers) < 2 * len(self.batchers):
            item, tenant, start = self.queue.pop()
            self._count += 1
            hashes = tuple(item.session * 1000 + index for index in range(item.prompt // BLOCK_SIZE))
            request = Request(item.prompt, item.output, hashes, item.session)
            decision = self.router.route(request, self._count * 0x9E3779B97F4A7C15 & (1 << 64) - 1)
            verdict = self.admission.decide(decision.prediction.ttft_s, decision.prediction.finish_s)
            self.log.append((now, tenant, start, decision.reasons, verdict))
            if verdict.admitted:
                self.batchers[decision.worker.number].submit(
                    Sequence((self._count, item), item.prompt, item.output, now, hashes, keep=item.tool_s > 0)
                )
                started.append(decision.worker.number)
        return started

    def plan(self, replica: int, now: float) -> tuple[Iteration, float]:
        """The iteration, and when it ends (`now` if there is nothing to do)."""
        iteration = self.batchers[replica].plan()
        self.log.append(
            (now, replica, iteration.decodes, iteration.context_tokens,
             [(chunk.sequence.order, chunk.start, chunk.tokens) for chunk in iteration.chunks],
             [sequence.order for sequence in iteration.preempted])
        )  # fmt: skip
        seconds = 0.005 + 1e-3 * iteration.tokens + 1e-5 * iteration.context_tokens
        return iteration, now + seconds if iteration.tokens else now

    def complete(self, replica: int, iteration: Iteration, now: float) -> list[tuple[Sequence, float]]:
        """The end of an iteration; returns kept sequences and until when."""
        outcome: Outcome = self.batchers[replica].complete(iteration)
        kept: list[tuple[Sequence, float]] = []
        for sequence in outcome.finished:
            item = sequence.name[1]  # type: ignore[index]
            self.log.append((now, replica, "finished", sequence.order, sequence.hits, sequence.preemptions))
            self.admission.observe(1.0, now - item.at_s)
            self.queue.settle(item.tenant, 4 * item.output, 4 * item.output + sequence.preemptions)
            if sequence.keep:
                share = len(sequence.table.ids) / BLOCKS
                plan = retain(Cache(share, 1.0, 0.02, 1e-3 * item.prompt), item.tool_s)
                self.log.append((now, "keeps", sequence.order, plan.reason))
                kept.append((sequence, now + min(plan.hold_s, item.tool_s)))
        return kept

    def release(self, replica: int, sequence: Sequence, now: float) -> None:
        self.log.append((now, replica, "released", sequence.order))
        self.batchers[replica].release(sequence)

    def _batcher(self, number: int) -> Batcher:
        pool = BlockPool(
            BLOCKS,
            BLOCK_SIZE,
            lambda hashes: self.index.add(number, hashes),
            lambda hashes: self.index.remove(number, hashes),
        )
        return Batcher(Limits(sequences=4, tokens=16), pool)


def by_events(arrivals: list[Arrival], replicas: int) -> Log:
    driver = _Events(replicas)
    for arrival in arrivals:
        driver.at(arrival.at_s, replicas, partial(driver.arrive, arrival))
    while driver.heap:
        now, _, _, act = heappop(driver.heap)
        act(now)
    return driver.site.log


class _Events:
    """Events are (time, rank, counter, act)."""

    def __init__(self, replicas: int) -> None:
        self.site = Site(replicas)
        self.heap: list[tuple[float, int, int, Callable[[float], None]]] = []
        self._busy = [False] * replicas
        self._count = 0

    def at(self, time: float, rank: int, act: Callable[[float], None]) -> None:
        self._count += 1
        heappush(self.heap, (time, rank, self._count, act))

    def arrive(self, arrival: Arrival, now: float) -> None:
        self.site.arrive(arrival, now)
        self._wake(self.site.dispatch(now), now)

    def _wake(self, replicas: list[int], now: float) -> None:
        for replica in replicas:
            if not self._busy[replica]:
                self._start(replica, now)

    def _start(self, replica: int, now: float) -> None:
        iteration, ends = self.site.plan(replica, now)
        self._busy[replica] = ends > now
        if self._busy[replica]:
            self.at(ends, replica, partial(self._end, replica, iteration))

    def _end(self, replica: int, iteration: Iteration, now: float) -> None:
        for sequence, until in self.site.complete(replica, iteration, now):
            self.at(until, len(self._busy) + 1, partial(self._release, replica, sequence))
        started = self.site.dispatch(now)
        self._start(replica, now)
        self._wake(started, now)

    def _release(self, replica: int, sequence: Sequence, now: float) -> None:
        self.site.release(replica, sequence, now)
        self._wake([replica], now)


async def by_asyncio(arrivals: list[Arrival], replicas: int) -> Log:
    driver = _Coroutines(replicas)
    tasks = [asyncio.create_task(driver.serve(replica)) for replica in range(replicas)]
    tasks.append(asyncio.create_task(driver.take_in(arrivals)))
    await driver.clock.run()
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    return driver.site.log


class _Coroutines:
    """One a replica, one for all arrivals, one for each kept cache, as a live gateway has them."""

    def __init__(self, replicas: int) -> None:
        self.site, self.clock = Site(replicas), VirtualClock()
        self._awake = [asyncio.Event() for _ in range(replicas)]
        self._holding: set[asyncio.Task[None]] = set()

    async def serve(self, replica: int) -> None:
        site, clock, awake = self.site, self.clock, self._awake[replica]
        while True:
            await awake.wait()
            iteration, ends = site.plan(replica, clock.now)
            if ends == clock.now:
                awake.clear()
                continue
            await clock.sleep_until(ends, replica)
            for sequence, until in site.complete(replica, iteration, clock.now):
                task = asyncio.create_task(self._hold(replica, sequence, until))
                self._holding.add(task)
                task.add_done_callback(self._holding.discard)
            self._wake(site.dispatch(clock.now))

    async def take_in(self, arrivals: list[Arrival]) -> None:
        for arrival in arrivals:
            await self.clock.sleep_until(arrival.at_s, len(self._awake))
            self.site.arrive(arrival, self.clock.now)
            self._wake(self.site.dispatch(self.clock.now))

    async def _hold(self, replica: int, sequence: Sequence, until: float) -> None:
        await self.clock.sleep_until(until, len(self._awake) + 1)
        self.site.release(replica, sequence, self.clock.now)
        self._wake([replica])

    def _wake(self, replicas: list[int]) -> None:
        for replica in replicas:
            self._awake[replica].set()


class VirtualClock:
    """Sleeping coroutines, woken one at a time in order of (time, rank, counter) when all others are asleep."""

    def __init__(self) -> None:
        self.now = 0.0
        self._sleepers: list[tuple[float, int, int, asyncio.Future[None]]] = []
        self._count = 0

    async def sleep_until(self, time: float, rank: int) -> None:
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._count += 1
        heappush(self._sleepers, (time, rank, self._count, future))
        await future

    async def run(self) -> None:
        await _all_asleep()
        while self._sleepers:
            self.now, _, _, future = heappop(self._sleepers)
            future.set_result(None)
            await _all_asleep()


async def _all_asleep() -> None:
    """Turns of the loop until nothing but us could run."""
    ready = asyncio.get_running_loop()._ready  # type: ignore[attr-defined]
    await asyncio.sleep(0)
    while ready:
        await asyncio.sleep(0)
