"""The control loop on live nodes: `policy.scaling`, shown what a Dispatcher sees, and its actions done to a fleet."""

import asyncio
import logging
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import msgspec

from weft.control.handover import hand_over
from weft.control.moving import Nodes
from weft.control.replanning import Replans
from weft.core.errors import WeftError
from weft.plan.staffing import restaff
from weft.policy.calibration import Calibration
from weft.policy.replanning import Estimate
from weft.policy.scaling import Action, Change, Decision, PoolSeen, Scaling, Snapshot
from weft.runtime.spec import NodeSpec
from weft.serve.agents import ServedAgent
from weft.serve.dispatch import pool_of, replica_name
from weft.serve.live_node import LiveNode
from weft.serve.passes import PassNews
from weft.serve.status import waiting_in

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class Loop:
    """`specs` are of the first replica of each pool, by name. What is busy `drain_s` after it was drained is ended: its
    calls go on elsewhere."""

    agent: ServedAgent
    fleet: Nodes
    specs: dict[str, NodeSpec]
    scaling: Scaling
    replans: Replans | None = None
    every_s: float = 1.0
    drain_s: float = 60.0
    on_decision: Callable[[Decision], None] = field(default=lambda _: None)
    calibration: Calibration = field(init=False)
    _passes: PassNews = field(default_factory=PassNews)
    _starting: dict[str, set[str]] = field(default_factory=dict[str, set[str]])
    _draining: dict[str, set[str]] = field(default_factory=dict[str, set[str]])
    _work: set[asyncio.Task[None]] = field(default_factory=set[asyncio.Task[None]])

    def __post_init__(self) -> None:
        self.calibration = Calibration(self.agent.deployment.measured)

    async def run(self) -> None:
        """Until it is cancelled."""
        try:
            while True:
                self.look()
                await asyncio.sleep(self.every_s)
        finally:
            for task in self._work:
                task.cancel()
            await asyncio.gather(*self._work, return_exceptions=True)

    def look(self) -> Decision:
        self._calibrate()
        decision = self.scaling.decide(self.snapshot())
        for action in decision.actions:
            _log.warning("%s", action)
            self.agent.history.decided(action.pool, action.change, action.count, action.why)
            self._do(action)
        self.on_decision(decision)
        if self.replans is not None and not self.replans.under_way:
            self._replan(self.replans, decision.rate_per_s)
        return decision

    def _calibrate(self) -> None:
        """What passes really take counts from now on, for how many nodes there are and for the next plan."""
        agent = self.agent
        changed = self.calibration.look(self._passes.since(agent.dispatcher.passes))
        for key in changed:
            told = self.calibration.known[key].told(key)
            _log.warning("%s", told)
            agent.history.decided("all", "measure", 0, told)
        if changed:
            restaff(self.scaling, agent.deployment, self.calibration.factors)

    def _replan(self, replans: Replans, rate_per_s: float) -> None:
        now_s = asyncio.get_running_loop().time()
        seen = Estimate(rate_per_s, self.agent.history.sizes, self.calibration.factors)
        why = replans.policy.wants(now_s, seen)
        if why:
            _log.warning("the planner is asked again: %s", why)
            replans.policy.asked(now_s)
            self._begin(self._moved(replans, seen))

    async def _moved(self, replans: Replans, seen: Estimate) -> None:
        found = await replans.run(self.agent, seen)
        if found is not None:
            self.specs = found.specs
            self.scaling = found.scaling
            restaff(self.scaling, self.agent.deployment, self.calibration.factors)

    def snapshot(self) -> Snapshot:
        agent = self.agent
        arrived = agent.running + agent.ended + agent.failed + agent.cancelled
        pools = tuple(self._seen(pool.name) for pool in agent.deployment.pools)
        return Snapshot(asyncio.get_running_loop().time(), arrived, pools)

    def _seen(self, pool: str) -> PoolSeen:
        members = self.agent.dispatcher.members(pool)
        waiting = waiting_in(self.agent, pool)
        coming = {name for name in self.fleet.absent if pool_of(name) == pool} | self._of(self._starting, pool)
        starting = len(coming - {each.client.name for each in members})
        slow = slowness([each.slow for each in members])
        return PoolSeen(pool, len(members), starting, len(self._of(self._draining, pool)), waiting, slow)

    def _do(self, action: Action) -> None:
        for _ in range(action.count):
            work = self._start(action.pool) if action.change is Change.START else self._drain(action.pool)
            if work is not None:
                self._begin(work)

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._work.add(task)
        task.add_done_callback(self._work.discard)

    def _start(self, pool: str) -> Coroutine[Any, Any, None]:
        """One more replica, under a name that nobody has."""
        taken = self._of(self._starting, pool) | self._of(self._draining, pool) | self.fleet.absent
        taken |= {node.client.name for node in self.agent.dispatcher.nodes.values()}
        name = next(each for number in count() if (each := replica_name(pool, number)) not in taken)
        self._of(self._starting, pool).add(name)
        return self._started(pool, name)

    async def _started(self, pool: str, name: str) -> None:
        try:
            await self.fleet.add(msgspec.structs.replace(self.specs[pool], name=name))
        except WeftError as error:
            _log.warning("%s did not start: %s", name, error)  # the next look decides again
        finally:
            self._of(self._starting, pool).discard(name)

    def _drain(self, pool: str) -> Coroutine[Any, Any, None] | None:
        """The replica with the least to do gets nothing new, and ends when it has nothing left."""
        members = self.agent.dispatcher.members(pool)
        if not members:
            return None
        least = min(members, key=lambda each: each.under_way)
        name = least.client.name
        self.agent.dispatcher.drain(name)
        self._of(self._draining, pool).add(name)
        return self._drained(pool, least)

    async def _drained(self, pool: str, node: LiveNode) -> None:
        name, agent = node.client.name, self.agent
        try:
            async with asyncio.timeout(self.drain_s):
                while node.under_way:
                    await asyncio.sleep(0.05)
        except TimeoutError:
            _log.warning("%s is ended with %d calls under way: they go on elsewhere", name, node.under_way)
        told = await hand_over(node, agent.dispatcher.members(pool), agent.deployment)
        if told:
            _log.warning("%s", told)
            agent.history.decided(pool, "hand over", 0, told)
        await self.fleet.remove(name)
        self._of(self._draining, pool).discard(name)

    def _of(self, names: dict[str, set[str]], pool: str) -> set[str]:
        return names.setdefault(pool, set())


def slowness(of_nodes: Sequence[float]) -> float:
    """How much longer a pool takes than equal nodes would, from what each takes beside its prediction. The fastest sets
    the measure: what all have in common is an error of the prediction, or the load, and queues tell the load."""
    if not of_nodes:
        return 1.0
    least = min(of_nodes)
    return len(of_nodes) / sum(least / each for each in of_nodes)
