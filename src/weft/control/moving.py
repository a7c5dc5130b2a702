"""From one plan to another under load: new nodes first, then new runs on them, then the end of the old nodes.

A run stays with the plan that it began with. Pools that both plans have are not touched: their nodes serve both.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable, Sequence, Set
from dataclasses import dataclass, field
from typing import Protocol

import msgspec

from weft.control.handover import hand_over
from weft.control.replan import named_beside
from weft.core.deployment import Deployment, Pool
from weft.core.errors import WeftError
from weft.runtime.client import NodeClient
from weft.runtime.spec import NodeSpec
from weft.serve.agents import ServedAgent
from weft.serve.dispatch import Dispatcher, pool_of
from weft.serve.live_node import LiveNode

_log = logging.getLogger(__name__)

SpecsOf = Callable[[Deployment], Sequence[NodeSpec]]
"""Of all replicas that a plan has here; the first of a pool is called like it."""


class Nodes(Protocol):
    """Where nodes come from and go to: control.backends.fleet.Fleet, on this machine or on Ray."""

    @property
    def absent(self) -> Set[str]:
        """Nodes that died and are about to come back."""
        ...

    def expect(self, pools: Iterable[Pool]) -> None:
        """Of a new plan: nodes of them may be added from now on."""
        ...

    async def add(self, spec: NodeSpec) -> NodeClient: ...
    async def remove(self, name: str) -> None: ...


@dataclass(slots=True)
class Crossing:
    """Who is told that a node can be called: every plan that runs are under way on and that has its pool."""

    dispatchers: list[Dispatcher] = field(default_factory=list[Dispatcher])

    def join(self, client: NodeClient) -> None:
        for dispatcher in self.dispatchers:
            if any(pool.name == pool_of(client.name) for pool in dispatcher.deployment.pools):
                dispatcher.join(client)


@dataclass(slots=True)
class Mover:
    """`end_s`: runs on the old plan have so long; then their nodes end, and what they were at goes on or fails."""

    agent: ServedAgent
    fleet: Nodes
    crossing: Crossing
    specs_of: SpecsOf
    secret: str
    end_s: float = 300.0

    async def move(self, offered: Deployment) -> tuple[Deployment, dict[str, NodeSpec]]:
        """The plan that runs now, and the specs of its pools' first nodes. Raises what kept a new node from starting:
        then all is as it was."""
        agent, old = self.agent, self.agent.dispatcher
        target = named_beside(agent.deployment, offered)
        specs = [msgspec.structs.replace(spec, secret=self.secret) for spec in self.specs_of(target)]
        had = {pool.name for pool in agent.deployment.pools}
        fresh = Dispatcher(target, revival_s=old.revival_s)
        fresh.passes, fresh.feed.names = old.passes, old.feed.names
        for pool in target.pools:
            for node in old.members(pool.name) if pool.name in had else ():
                fresh.join(node.client)
        self.crossing.dispatchers.append(fresh)
        self.fleet.expect(target.pools)
        await self._started([spec for spec in specs if pool_of(spec.name) not in had], fresh)
        kept = {pool.name for pool in target.pools}
        gone = [node for node in old.nodes.values() if pool_of(node.client.name) not in kept]
        handed_s = await self._hand_over(gone, fresh)
        agent.switch(target, fresh)
        _log.warning("runs begin on the new plan: %s", ", ".join(f"{p.replicas} × {p.name}" for p in target.pools))
        await self._ended(old)
        await self._hand_over(gone, fresh, handed_s)
        await self._remove(gone, old)
        return target, {spec.name: spec for spec in specs if pool_of(spec.name) == spec.name}

    async def _started(self, specs: Sequence[NodeSpec], fresh: Dispatcher) -> None:
        started = await asyncio.gather(*(self.fleet.add(spec) for spec in specs), return_exceptions=True)
        failed = [each for each in started if isinstance(each, BaseException)]
        if failed:
            self.crossing.dispatchers.remove(fresh)
            for spec, came in zip(specs, started, strict=True):
                if not isinstance(came, BaseException):
                    await self.fleet.remove(spec.name)
            raise failed[0]

    async def _hand_over(self, gone: Sequence[LiveNode], fresh: Dispatcher, since_s: float | None = None) -> float:
        """Twice: before runs begin on the new plan, and what the old ones used since then. Returns when it began."""
        now_s = asyncio.get_running_loop().time()
        younger_s = None if since_s is None else now_s - since_s
        for node in gone:
            told = await hand_over(node, fresh.nodes.values(), fresh.deployment, younger_s)
            if told:
                _log.warning("%s", told)
                self.agent.history.decided(pool_of(node.client.name), "hand over", 0, told)
        return now_s

    async def _ended(self, old: Dispatcher) -> None:
        """Until the last run that may need its nodes has ended."""
        try:
            async with asyncio.timeout(self.end_s):
                while self.agent.runs_on(old):
                    await asyncio.sleep(0.05)
        except TimeoutError:
            _log.warning("%d runs on the old plan have not ended in %g s", self.agent.runs_on(old), self.end_s)
        self.crossing.dispatchers.remove(old)

    async def _remove(self, gone: Sequence[LiveNode], old: Dispatcher) -> None:
        for name in [node.client.name for node in gone if node.client in old.nodes]:
            old.drain(name)
            try:
                await self.fleet.remove(name)
            except WeftError as error:
                _log.warning("%s: %s", name, error)
