"""A fleet of node processes on this machine."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from types import MappingProxyType

from weft.control.backends.fleet import READY_TIMEOUT_S, Fleet
from weft.control.backends.node_process import NodeProcess
from weft.control.backends.supervise import Detection
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
    ) -> None:
        spawn = partial(NodeProcess.spawn, detection=detection or Detection())
        super().__init__(specs, spawn, ready_timeout_s=ready_timeout_s, on_join=on_join)

    @property
    def processes(self) -> Mapping[str, asyncio.subprocess.Process]:
        return MappingProxyType({name: node.process for name, node in self._nodes.items()})
