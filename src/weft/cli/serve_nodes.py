"""Where `weft serve` starts nodes: on this machine, or on a Ray cluster."""

import contextlib
import secrets
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import msgspec

from weft.control.backends.fleet import Fleet
from weft.control.backends.keeper import Keeper
from weft.control.backends.local import LocalFleet
from weft.control.backends.supervise import FAST
from weft.core.deployment import Deployment
from weft.core.errors import MissingProgramError
from weft.runtime.client import NodeClient
from weft.runtime.spec import NodeSpec
from weft.serve.placement import LocalModels, PoolModel, node_specs


@dataclass(frozen=True, slots=True)
class Nodes:
    """What nodes are started with; `replicas` by pool. They are this machine's, or those of the Ray cluster `ray`."""

    models: LocalModels
    emulate: bool
    replicas: Mapping[str, int]
    ray: str | None = None
    compiled: Mapping[str, Mapping[str, PoolModel]] = field(default_factory=dict[str, Mapping[str, PoolModel]])
    """By agent and pool, of those that are served from a bundle."""
    otlp: str | None = None
    """Where spans go; None: there are none."""
    secret: str = field(default_factory=lambda: secrets.token_hex(32))
    """Of all nodes: the next gateway finds those of this one with it."""
    keeper: Keeper | None = None

    def specs(self, deployment: Deployment) -> Sequence[NodeSpec]:
        models = replace(self.models, pools=self.compiled.get(deployment.program.name, {}))
        specs = node_specs(deployment, models, emulate=self.emulate, replicas=self.replicas)
        return [msgspec.structs.replace(spec, otlp=self.otlp, secret=self.secret) for spec in specs]


OnJoin = Callable[[NodeClient], None]
Start = Callable[[Deployment, OnJoin], Fleet[Any]]
"""Makes the fleet of one agent, which tells who can be called."""


@contextlib.asynccontextmanager
async def started_by(nodes: Nodes) -> AsyncGenerator[Start, None]:
    if nodes.ray is None:

        def local(deployment: Deployment, on_join: OnJoin) -> LocalFleet:
            return LocalFleet(nodes.specs(deployment), detection=FAST, on_join=on_join, keeper=nodes.keeper)

        yield local
        return
    try:
        from weft.control.backends.ray_cluster import RayCluster
        from weft.control.backends.ray_fleet import RayFleet
    except ModuleNotFoundError as error:
        raise MissingProgramError(
            subject=f"--ray {nodes.ray}", problem=f"needs {error.name}", way_out="pip install 'weft[ray]'"
        ) from error
    async with RayCluster(nodes.ray) as cluster:

        def start(deployment: Deployment, on_join: OnJoin) -> RayFleet:
            specs, pools = nodes.specs(deployment), deployment.pools
            return RayFleet(specs, pools, cluster, emulated=nodes.emulate, detection=FAST, on_join=on_join)

        yield start
