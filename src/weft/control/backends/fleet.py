"""A fleet of nodes, wherever their processes are: started, told to who calls them, started again when they die."""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence, Set
from types import MappingProxyType, TracebackType
from typing import Generic, Self, TypeVar

from weft.control.backends.supervise import SupervisedNode
from weft.core.deployment import Pool
from weft.core.errors import WeftError
from weft.runtime.client import NodeClient
from weft.runtime.spec import NodeSpec
from weft.runtime.transport.tcp import TcpTransport
from weft.serve.dispatch import pool_of

READY_TIMEOUT_S = 120.0
RESTART_S, RESTART_LIMIT_S = 0.05, 30.0  # before a node that died starts again, doubled while it dies at once
OTHERS_FIRST_S = 0.5  # others of its pool take its work over meanwhile: to start is seconds of a processor
LIVED_S = 10.0  # a node that lived so long did not die at once

_log = logging.getLogger(__name__)


N = TypeVar("N", bound=SupervisedNode)


class Fleet(Generic[N]):
    """`async with Fleet(specs, spawn) as fleet`: one process per spec, all ready inside, all ended after.

    With `on_join` the fleet is kept up: a node that dies starts again, and who can be called is told each time.
    """

    def __init__(
        self,
        specs: Sequence[NodeSpec],
        spawn: Callable[[NodeSpec], Awaitable[N]],
        *,
        ready_timeout_s: float = READY_TIMEOUT_S,
        on_join: Callable[[NodeClient], None] | None = None,
    ) -> None:
        self.specs = tuple(specs)
        self._ready_timeout_s = ready_timeout_s
        self._spawn = spawn
        self._on_join = on_join
        self._nodes: dict[str, N] = {}
        self._keeping: dict[str, asyncio.Task[None]] = {}
        self.restarts = 0

    async def __aenter__(self) -> Self:
        try:
            self._nodes = {spec.name: await self._spawn(spec) for spec in self.specs}
            await asyncio.gather(*(self._connect(node) for node in self._nodes.values()))
        except BaseException:
            await self._stop()
            raise
        for node in self._nodes.values():
            self._keep(node)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stop()

    @property
    def clients(self) -> Mapping[str, NodeClient]:
        """By node name: the pool's, with #1, #2, … behind it for its further replicas."""
        named = {name: node.client for name, node in self._nodes.items()}
        return MappingProxyType({name: client for name, client in named.items() if client is not None})

    @property
    def absent(self) -> Set[str]:
        """Nodes that died and are about to come back."""
        gone = {name for name, node in self._nodes.items() if node.client is None or node.client.died.done()}
        return gone & self._keeping.keys()

    def expect(self, pools: Iterable[Pool]) -> None:
        """Pools whose nodes may be added: for those who place nodes by what a pool wants."""

    async def add(self, spec: NodeSpec) -> NodeClient:
        """One more node, ready to be called."""
        node = await self._spawn(spec)
        try:
            client = await self._connect(node)
        except BaseException:
            await node.stop()
            raise
        self._nodes[spec.name] = node
        self._keep(node)
        return client

    async def remove(self, name: str) -> None:
        """Ends a node, whatever it is at: drain it first."""
        keeping = self._keeping.pop(name, None)
        if keeping is not None:
            keeping.cancel()
            await asyncio.gather(keeping, return_exceptions=True)
        await self._nodes.pop(name).stop()

    async def _connect(self, node: N) -> NodeClient:
        transport = TcpTransport(bytes.fromhex(node.spec.secret))
        return await node.connect(transport, self._ready_timeout_s)

    def _keep(self, node: N) -> None:
        if self._on_join is not None and node.client is not None:
            self._on_join(node.client)
            self._keeping[node.spec.name] = asyncio.create_task(self._keep_up(node, self._on_join))

    async def _keep_up(self, node: N, on_join: Callable[[NodeClient], None]) -> None:
        """Starts a node again each time that it dies."""
        loop, pause_s = asyncio.get_running_loop(), RESTART_S
        while True:
            began_s = loop.time()
            if node.client is not None:
                await asyncio.wait({node.client.died})
                _log.warning("%s; it starts again", node.client.died.result())
            await node.stop()
            pause_s = RESTART_S if loop.time() - began_s > LIVED_S else min(2 * pause_s, RESTART_LIMIT_S)
            await asyncio.sleep(max(pause_s, OTHERS_FIRST_S) if self._has_others(node.spec.name) else pause_s)
            with contextlib.suppress(WeftError):  # then it is tried again, later
                self._nodes[node.spec.name] = node = await self._spawn(node.spec)
                on_join(await self._connect(node))
                self.restarts += 1

    def _has_others(self, name: str) -> bool:
        """Whether somebody else of its pool is there."""
        return any(other != name and pool_of(other) == pool_of(name) for other in self._nodes.keys() - self.absent)

    async def _stop(self) -> None:
        keeping, self._keeping = list(self._keeping.values()), {}
        for task in keeping:
            task.cancel()
        await asyncio.gather(*keeping, return_exceptions=True)
        await asyncio.gather(*(node.stop() for node in self._nodes.values()))
