# pyright: standard
"""Nodes on a Ray cluster (extra `ray`): Ray places and supervises, tokens and KV caches never travel through it.

A device of the catalogue is a custom resource of its name: `ray start --resources '{"h100-sxm": 8}'`. Each node gets a
placement group of one bundle, so the devices of a tensor-parallel node are on one machine.
"""

import asyncio
import contextlib
import logging
import os
import signal
import threading
from collections.abc import Mapping
from types import TracebackType
from typing import Any

import msgspec

os.environ.setdefault("RAY_AUTH_MODE", "token")  # Ray reads it when it is imported

import ray
from ray.exceptions import RayError
from ray.util.placement_group import PlacementGroup, placement_group, remove_placement_group
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from weft.control.backends.ray_keeper import NodeKeeper
from weft.control.backends.supervise import Detection, SupervisedNode, how_it_ended
from weft.core.errors import InputError
from weft.runtime.spec import NodeSpec

NAMESPACE = "weft"
PLACE_TIMEOUT_S = 30.0
ASK_TIMEOUT_S = 5.0
EXPLAIN_S = 0.4  # runs wait for the reason before they go on elsewhere; a lost machine gives none

Keeper = Any
"""An actor's handle; Ray's methods of actors have no types."""

Devices = Mapping[str, float]
"""Custom resources: how many of each device a node takes."""


class RayCluster:
    """`async with RayCluster(address) as cluster`: connected inside, whatever was started on it ended after.

    `address` is Ray's: HOST:PORT, or "auto" for the cluster of this machine. Its token comes from where Ray looks
    for it (RAY_AUTH_TOKEN, RAY_AUTH_TOKEN_PATH, ~/.ray/auth_token); a cluster without tokens is refused by Ray itself
    as long as RAY_AUTH_MODE is not set to "disabled" by whoever runs this.
    """

    def __init__(self, address: str) -> None:
        self._address = address

    async def __aenter__(self) -> "RayCluster":
        try:
            await self._reached()
            await asyncio.to_thread(
                ray.init, address=self._address, namespace=NAMESPACE, log_to_driver=False, logging_level=logging.WARNING
            )
        except (OSError, RuntimeError, RayError, ValueError) as error:
            said = str(error).strip() or type(error).__name__
            raise InputError(
                subject=f"--ray {self._address}",
                problem=f"cannot be reached ({said.splitlines()[0]})",
                way_out="start it with `ray start`, and give this process its token (RAY_AUTH_TOKEN)",
            ) from error
        for number in (signal.SIGTERM, signal.SIGINT):  # Ray's own handlers print a stack: ours again
            handler = signal.getsignal(number)
            if handler is not None and threading.current_thread() is threading.main_thread():
                signal.signal(number, handler)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await asyncio.to_thread(ray.shutdown)

    async def _reached(self) -> None:
        """Ray itself tries a wrong address for minutes."""
        host, _, port = self._address.rpartition(":")
        if host and port.isdecimal():
            async with asyncio.timeout(ASK_TIMEOUT_S):
                _, writer = await asyncio.open_connection(host, int(port))
            writer.close()

    async def start(self, spec: NodeSpec, devices: Devices, detection: Detection | None = None) -> "RayNode":
        """Waits for the place. Raises InputError when the cluster has none within 30 s."""
        wants = {name: float(count) for name, count in devices.items()}
        group = placement_group([{"CPU": float(spec.threads), **wants}], strategy="STRICT_PACK")
        try:
            await asyncio.wait_for(_ready(group), PLACE_TIMEOUT_S)
        except TimeoutError:
            remove_placement_group(group)
            raise _no_place(spec, wants) from None
        keeper = _keeper(spec, wants, group)
        return RayNode(spec, keeper, group, detection or Detection())


async def _ready(group: PlacementGroup) -> None:
    await group.ready()


def _keeper(spec: NodeSpec, wants: Devices, group: PlacementGroup) -> Keeper:
    strategy = PlacementGroupSchedulingStrategy(group, placement_group_bundle_index=0)
    actor = ray.remote(NodeKeeper).options(
        num_cpus=spec.threads,
        resources=dict(wants),
        scheduling_strategy=strategy,
        max_restarts=0,  # a node that died is placed anew, perhaps elsewhere: the control loop decides
        max_concurrency=4,  # its end is asked for while its report is awaited
    )
    return actor.remote(msgspec.json.encode(spec))


def _no_place(spec: NodeSpec, wants: Devices) -> InputError:
    has = {name: count for name, count in ray.cluster_resources().items() if ":" not in name and name != "memory"}
    needs = ", ".join(f"{count:g} {name}" for name, count in (("CPU", spec.threads), *wants.items()))
    free = ", ".join(f"{ray.available_resources().get(name, 0.0):g} of {count:g} {name}" for name, count in has.items())
    return InputError(
        subject=f"node {spec.name!r}",
        problem=f"found no machine with {needs} free within {PLACE_TIMEOUT_S:g} s (free in all: {free})",
        way_out="join machines with `ray start --resources`, or plan with the devices that there are",
    )


class RayNode(SupervisedNode):
    """One node that Ray placed: started, connected, watched by our own pings, stopped."""

    def __init__(self, spec: NodeSpec, keeper: Keeper, group: PlacementGroup, detection: Detection) -> None:
        super().__init__(spec, detection)
        self._keeper = keeper
        self._group = group

    async def report(self) -> bytes:
        try:
            return await _told(self._keeper.report)
        except RayError as error:
            raise self.died(f"was not started by Ray ({type(error).__name__})") from error

    async def machine(self) -> str:
        """Ray's id of the machine that it is on."""
        return await _told(self._keeper.machine)

    async def stop(self) -> None:
        """Also of a node that is lost: its place is given back."""
        await self.disconnect()
        with contextlib.suppress(TimeoutError, RayError):  # hung or gone: killing the keeper closes the node's stdin
            await asyncio.wait_for(_told(self._keeper.stop), ASK_TIMEOUT_S)
        with contextlib.suppress(RayError, ValueError):  # it may be stopped for the second time
            ray.kill(self._keeper)
        remove_placement_group(self._group)

    async def explain(self) -> str:
        try:
            code, lines = await asyncio.wait_for(_told(self._keeper.ended, EXPLAIN_S / 2), EXPLAIN_S)
        except (TimeoutError, RayError):
            return "was lost with its machine or its Ray worker"
        self.stderr.extend(lines)
        return how_it_ended(code)


async def _told(method, *arguments):
    return await method.remote(*arguments)
