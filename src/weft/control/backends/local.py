"""A fleet of node processes on this machine."""

import asyncio
from collections.abc import Mapping, Sequence
from types import MappingProxyType, TracebackType

from weft.control.backends.node_process import NodeProcess
from weft.runtime.client import NodeClient
from weft.runtime.spec import NodeSpec
from weft.runtime.transport.tcp import TcpTransport

READY_TIMEOUT_S = 120.0


class LocalFleet:
    """`async with LocalFleet(specs) as fleet`: one process per spec, all ready inside, all ended after."""

    def __init__(self, specs: Sequence[NodeSpec], *, ready_timeout_s: float = READY_TIMEOUT_S) -> None:
        self._specs = tuple(specs)
        self._ready_timeout_s = ready_timeout_s
        self._nodes: list[NodeProcess] = []

    async def __aenter__(self) -> "LocalFleet":
        try:
            self._nodes = [await NodeProcess.spawn(spec) for spec in self._specs]
            await asyncio.gather(*(self._connect(node) for node in self._nodes))
        except BaseException:
            await self._stop()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stop()

    @property
    def clients(self) -> Mapping[str, NodeClient]:
        """By node name, which is the pool's."""
        return MappingProxyType({node.spec.name: node.client for node in self._nodes if node.client is not None})

    @property
    def processes(self) -> Mapping[str, asyncio.subprocess.Process]:
        return MappingProxyType({node.spec.name: node.process for node in self._nodes})

    async def _connect(self, node: NodeProcess) -> None:
        transport = TcpTransport(bytes.fromhex(node.spec.secret))
        await node.connect(transport, self._ready_timeout_s)

    async def _stop(self) -> None:
        await asyncio.gather(*(node.stop() for node in self._nodes))
