"""A fleet of node processes on this machine."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from types import MappingProxyType

from weft.control.backends.fleet import READY_TIMEOUT_S, Fleet
from weft.control.backends.keeper import Keeper
from weft.control.backends.node_process import NodeProcess, Process, TakenOver
from weft.control.backends.supervise import Detection
from weft.core.errors import WeftError
from weft.runtime.client import NodeClient
from weft.runtime.spec import NodeSpec


class LocalFleet(Fleet[NodeProcess]):
    def __init__(
        self,
        specs: Sequence[NodeSpec],
        *,
        ready_timeout_s: float = READY_TIMEOUT_S,
        detection: Detection | None = None,
        on_join: Callable[[NodeClient], None] | None = None,
        keeper: Keeper | None = None,
    ) -> None:
        """`keeper`: outlives this process, and may have nodes of one before it."""
        spawn = partial(NodeProcess.spawn, detection=detection or Detection(), keeper=keeper)
        super().__init__(specs, spawn, ready_timeout_s=ready_timeout_s, on_join=on_join)

    async def _connect(self, node: NodeProcess) -> NodeClient:
        """One that was taken over and does not answer is started anew."""
        if not isinstance(node.process, TakenOver):
            return await super()._connect(node)
        try:
            return await super()._connect(node)
        except (WeftError, OSError):
            await node.stop()
            self._nodes[node.spec.name] = node = await self._spawn(node.spec)
            return await super()._connect(node)

    @property
    def processes(self) -> Mapping[str, Process]:
        return MappingProxyType({name: node.process for name, node in self._nodes.items()})
