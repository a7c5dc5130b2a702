"""SIGKILL of a real process in the middle of a transfer, on either side: the other notices, and no memory is left."""

import asyncio
import gc
import importlib.util
import os
import signal
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest

from weft.core.errors import NodeDiedError
from weft.core.program import StepKind
from weft.runtime.client import NodeClient
from weft.runtime.kv.cache import KvCache, KvShape
from weft.runtime.kv.early import EarlyPulls
from weft.runtime.kv.ports import KvSource
from weft.runtime.kv.pull import KvPull
from weft.runtime.kv.whole import WholeSink, WholeSource
from weft.runtime.node import Node
from weft.runtime.services import Services
from weft.runtime.spec import NodeSpec
from weft.runtime.transport.base import Buffer
from weft.runtime.transport.choose import Way, node_transport

SHAPE = KvShape("m" * 64, layers=32, kv_heads=8, head_dim=64, tokens=512, dtype="float32")  # 2 MiB a layer: more than
# sockets and the queue of a reader hold
SECRET = bytes(range(32))
OTHER = "from tests.runtime.test_kv_death import {what}\n{what}(*{args!r})\n"


class HoldingEngine:
    """Holds one cache; enough of an engine for a node that only gives it away."""

    model_hash = SHAPE.model_hash
    emulated = False

    def open_export(self, sequence: int) -> KvSource:
        layers = [np.full(SHAPE.array_shape, layer, np.float32) for layer in range(SHAPE.layers)]
        return WholeSource(KvCache(SHAPE, tuple(layers), tuple(layers)))


class DeadlyPull(KvPull):
    """Kills a process once it has some layers."""

    def __init__(self, pid: int) -> None:
        super().__init__(0, SHAPE.model_hash, lambda shape, *_: WholeSink(shape, lambda *_: 0))
        self._pid = pid

    def add(self, chunk: Buffer) -> None:
        super().add(chunk)
        if self.place.layer == 3:
            os.kill(self._pid, signal.SIGKILL)


def holder(way: Way) -> Node:
    spec = NodeSpec("holder", "cpu", (StepKind.PREFILL,), "")
    return Node(Services(spec, HoldingEngine()), node_transport(way, SECRET))  # pyright: ignore[reportArgumentType]


def serve(way: Way) -> None:
    """The sending process."""

    async def run() -> None:
        print(await holder(way).listen(), flush=True)
        await asyncio.sleep(60)

    asyncio.run(run())


def pull_and_die(way: Way, address: str) -> None:
    """The receiving process."""

    async def run() -> None:
        client = await NodeClient.open("holder", node_transport(way, SECRET), address)
        await client.fetch_kv(DeadlyPull(os.getpid()))

    asyncio.run(run())


async def spawn(what: str, *args: str) -> asyncio.subprocess.Process:
    code = OTHER.format(what=what, args=args)
    return await asyncio.create_subprocess_exec(sys.executable, "-c", code, stdout=asyncio.subprocess.PIPE)


def leftovers() -> set[Path]:
    """What a process may leave that outlives it: named memory, and files of the temporary folder. Not those of imports,
    ranks and planning, which other tests make meanwhile."""
    files = {*Path("/dev/shm").iterdir(), *Path(tempfile.gettempdir()).glob("weft*")}
    return {each for each in files if not each.name.startswith(("weft-import-", "weft-ranks-"))}


async def no_shared_maps() -> None:
    """What tasks and generators still hold goes with their last turn of the loop."""
    async with asyncio.timeout(5):
        while "weft-kv" in Path("/proc/self/maps").read_text():
            gc.collect()
            await asyncio.sleep(0.02)


WAYS = ["auto", "tcp", *(["nixl"] if importlib.util.find_spec("nixl") else [])]  # NIXL is an extra

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")


@pytest.mark.parametrize("way", WAYS)
async def test_the_sender_is_killed(way: Way) -> None:
    before = leftovers()
    other = await spawn("serve", way)
    assert other.stdout is not None
    address = (await other.stdout.readline()).decode().strip()
    client = await NodeClient.open("holder", node_transport(way, SECRET), address)
    pull = DeadlyPull(other.pid)
    with pytest.raises(NodeDiedError, match="node 'holder'"):
        async with asyncio.timeout(10):
            await client.fetch_kv(pull)
    assert 3 <= pull.place.layer < SHAPE.layers
    await client.close()
    await other.wait()
    del pull
    await no_shared_maps()
    assert leftovers() <= before


async def test_the_sender_of_an_early_cache_is_killed() -> None:
    before = leftovers()
    other = await spawn("serve", "auto")
    assert other.stdout is not None
    address = (await other.stdout.readline()).decode().strip()
    client = await NodeClient.open("holder", node_transport("auto", SECRET), address)
    early = EarlyPulls(lambda _, pull: client.fetch_kv(pull))
    early.begin(address, DeadlyPull(other.pid))
    async with asyncio.timeout(10):
        assert await early.take(address, 0) is None
    await client.close()
    await other.wait()
    await no_shared_maps()
    assert leftovers() <= before


@pytest.mark.parametrize("way", WAYS)
async def test_the_receiver_is_killed(way: Way) -> None:
    before = leftovers()
    node = holder(way)
    address = await node.listen()
    other = await spawn("pull_and_die", way, address)
    assert await other.wait() == -signal.SIGKILL
    client = await NodeClient.open("holder", node_transport(way, SECRET), address)  # the node serves on
    got = list[KvCache]()
    pull = KvPull(0, SHAPE.model_hash, lambda shape, *_: WholeSink(shape, lambda kv, _: got.append(kv) or 0))
    await client.fetch_kv(pull)
    pull.finish(0)
    assert (got[0].keys[7] == 7).all()  # sent again, whole
    await client.close()
    await node.close()
    del pull
    got.clear()
    await no_shared_maps()
    assert leftovers() <= before
