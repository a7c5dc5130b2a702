"""A fleet of nodes that Ray places: each on a machine that has its pool's devices, by the names of the catalogue."""

from collections.abc import Callable, Iterable, Sequence

import msgspec

from weft.catalog.hardware import device as device_named
from weft.control.backends.fleet import Fleet
from weft.control.backends.ray_cluster import RayCluster, RayNode
from weft.control.backends.supervise import Detection
from weft.core.deployment import Pool
from weft.core.errors import DeploymentError
from weft.core.hardware import Device, DeviceKind
from weft.core.units import Precision
from weft.runtime.client import NodeClient
from weft.runtime.spec import NodeSpec
from weft.serve.dispatch import pool_of
from weft.serve.placement import ranks_of


class RayFleet(Fleet[RayNode]):
    def __init__(
        self,
        specs: Sequence[NodeSpec],
        pools: Iterable[Pool],
        cluster: RayCluster,
        *,
        emulated: bool = False,
        detection: Detection | None = None,
        on_join: Callable[[NodeClient], None] | None = None,
    ) -> None:
        """`pools`: what the nodes are replicas of. Raises DeploymentError where our engine does not run on a device of
        theirs; `emulated` ones need none."""
        self._pools = {pool.name: pool for pool in pools}
        self._emulated = emulated

        async def spawn(spec: NodeSpec) -> RayNode:
            pool = self._pools[pool_of(spec.name)]
            return await cluster.start(self._placed(spec), {pool.device: float(pool.parallelism.devices)}, detection)

        for spec in specs:
            self._placed(spec)
        super().__init__(specs, spawn, on_join=on_join)

    def expect(self, pools: Iterable[Pool]) -> None:
        self._pools |= {pool.name: pool for pool in pools}

    def _placed(self, spec: NodeSpec) -> NodeSpec:
        return spec if self._emulated else on_its_device(spec, self._pools[pool_of(spec.name)])


def on_its_device(spec: NodeSpec, pool: Pool) -> NodeSpec:
    """The node as the plan wants it, for a machine that has the device. Raises DeploymentError when our engine does not
    run there; `weft compile` writes how other engines start."""
    if spec.model_dir is None:
        return msgspec.structs.replace(spec, device=pool.device)
    place = _torch_device(device_named(pool.device))
    precision = _PRECISIONS.get(pool.precision or Precision.FP32)
    if place is None or precision is None:
        lacks = f"device {pool.device}" if place is None else f"{pool.precision} weights"
        way_out = "plan without it, try it with --emulate, or start another engine from `weft compile`"
        raise DeploymentError(
            subject=f"pool {pool.name!r}", problem=f"the torch engine has no {lacks}", way_out=way_out
        )
    ranks = ranks_of(pool)
    return msgspec.structs.replace(
        spec, device=pool.device, torch_device=place, precision=precision, tensor_parallel=ranks
    )


_PRECISIONS = {Precision.FP32: "float32", Precision.FP16: "bfloat16", Precision.INT8: "int8"}


def _torch_device(device: Device) -> str | None:
    """As torch calls it; None: not at all."""
    if device.kind is DeviceKind.CPU:
        return "cpu"
    if device.vendor == "Intel":
        return "hpu" if device.id.startswith("gaudi") else "xpu"
    return {"NVIDIA": "cuda", "AMD": "cuda", "Apple": "mps"}.get(device.vendor)
