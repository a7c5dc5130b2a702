"""From one plan to another under load: new nodes first, then new runs on them, then the end of the old nodes.

A run stays with the plan that it began with. Pools that both plans have are not touched: their nodes serve both.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable, Sequence, Set
from dataclasses import dataclass, field
from typing import Protocol

import msgspec

from weft.control.replan import named_beside
from weft.core.deployment import Deployment, Pool
from weft.core.errors import WeftError
from weft.runtime.client import NodeClient
from weft.runtime.spec import NodeSpec
from weft.serve.agents import ServedAgent
from weft.serve.dispatch import Dispatcher, pool_of

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
        fresh.passes = old.passes
        for pool in target.pools:
            for node in old.members(pool.name) if pool.name in had else ():
                fresh.join(node.client)
        self.crossing.dispatchers.append(fresh)
        self.fleet.expect(target.pools)
        await self._started([spec for spec in specs if pool_of(spec.name) not in had], fresh)
        agent.switch(target, fresh)
        _log.warning("runs begin on the new plan: %s", ", ".join(f"{p.replicas} × {p.name}" for p in target.pools))
        await self._ended(old, {pool.name for pool in target.pools})
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

    async def _ended(self, old: Dispatcher, kept: set[str]) -> None:
        """Nodes of pools that are no more end when the last run that may need them has."""
        try:
            async with asyncio.timeout(self.end_s):
                while self.agent.runs_on(old):
                    await asyncio.sleep(0.05)
        except TimeoutError:
            _log.warning("%d runs on the old plan have not ended in %g s", self.agent.runs_on(old), self.end_s)
        self.crossing.dispatchers.remove(old)
        gone = [node.client.name for node in old.nodes.values() if pool_of(node.client.name) not in kept]
        for name in gone:
            old.drain(name)
            try:
                await self.fleet.remove(name)
            except WeftError as error:
                _log.warning("%s: %s", name, error)
