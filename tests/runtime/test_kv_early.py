"""A cache that travels while its prompt is still computed: in chunks, into another node, and never half of it."""

import asyncio
import contextlib
import threading
from collections.abc import AsyncGenerator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.runtime import checkpoints
from tests.runtime.replies import tokens_of
from tests.runtime.test_kv_moves import moved
from weft.core.errors import RunError
from weft.core.message import Message
from weft.core.program import Step, StepKind
from weft.policy.batcher import Limits
from weft.runtime.client import NodeClient
from weft.runtime.engines.chat import Chat
from weft.runtime.engines.torch_engine import TorchEngine
from weft.runtime.handlers import KV_TO
from weft.runtime.kv.early import EarlyPulls
from weft.runtime.kv.pull import KvPull
from weft.runtime.kv.whole import WholeSink
from weft.runtime.node import Node
from weft.runtime.services import LLM_KINDS, Services
from weft.runtime.spec import NodeSpec
from weft.runtime.transport.memory import MemoryTransport
from weft.runtime.values import KvHandle

CHUNK = 16
PROMPT = [3 + index * 7 % 290 for index in range(70)]
WORDS = (Message("user", "weft " * 12),)
DECODE = Step("decode", StepKind.DECODE, ("kv",), ("text",), {"max_tokens": 8})
MOVE = Step("move", StepKind.KV_TRANSFER, ("kv",), ("kv",), {})


@pytest.fixture(scope="module")
def model_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return checkpoints.chat_model(tmp_path_factory.mktemp("model"))


def engine_of(model_dir: Path, spill_bytes: int | None = None) -> TorchEngine:
    return TorchEngine.load(model_dir, limits=Limits(4, CHUNK), cache_tokens=512, spill_bytes=spill_bytes)


def allocated(engine: TorchEngine) -> int:
    engine._loop.call(lambda: None)  # what was posted before has been done
    return engine.load_now.allocated_blocks


def test_what_is_computed_can_be_read_before_the_rest_is(model_dir: Path) -> None:
    here, there, begun = engine_of(model_dir), engine_of(model_dir), list[int]()
    seen, read = threading.Event(), threading.Event()

    def tell(sequence: int) -> None:
        begun.append(sequence)
        seen.set()
        assert read.wait(5)  # the prompt's other chunks wait for this one

    with ThreadPoolExecutor(1) as pool:
        prefilling = pool.submit(lambda: here.prefill(PROMPT, begun=tell))
        assert seen.wait(5)
        source = here.open_export(begun[0])
        assert source.ready(0) == CHUNK
        assert (source.shape.tokens, source.prompt) == (len(PROMPT), tuple(PROMPT))
        read.set()
        sequence = moved(source, there, (prefilled := prefilling.result()).first_token)
    expected = tokens_of(here.decode(prefilled.sequence, 8))
    assert tokens_of(there.decode(sequence, 8)) == expected
    assert here.scheduler.caches.spools.get(prefilled.sequence) is None


@pytest.mark.parametrize("prompt", [PROMPT[:CHUNK], PROMPT])
def test_where_nothing_can_be_read_early_nothing_is_told(model_dir: Path, prompt: list[int]) -> None:
    engine, begun = engine_of(model_dir, spill_bytes=0), list[int]()  # a prompt of one chunk; no memory for a copy
    prefilled = engine.prefill(prompt, begun=begun.append)
    assert not begun
    assert engine.open_export(prefilled.sequence).ready(0) == len(prompt)


def test_a_prefill_that_ends_early_ends_its_readers(model_dir: Path) -> None:
    engine, begun = engine_of(model_dir), list[int]()

    def tell(sequence: int) -> None:
        begun.append(sequence)
        engine.release(sequence)

    with pytest.raises(ValueError):
        engine.prefill(PROMPT, begun=tell)
    with pytest.raises(RunError):
        engine.open_export(begun[0]).ready(CHUNK)
    assert engine.scheduler.caches.spools.size_bytes == 0
    assert allocated(engine) == 0


@contextlib.asynccontextmanager
async def two_nodes(model_dir: Path) -> AsyncGenerator[tuple[list[NodeClient], list[Node], list[TorchEngine]], None]:
    transport, chat = MemoryTransport(), Chat.load(model_dir)
    engines = [engine_of(model_dir), engine_of(model_dir)]
    specs = [NodeSpec(name, "cpu", LLM_KINDS, "") for name in ("prefill", "decode")]
    nodes = [Node(Services(spec, engine, chat), transport) for spec, engine in zip(specs, engines, strict=True)]
    clients = [await NodeClient.open(node._info.name, transport, await node.listen()) for node in nodes]
    try:
        async with asyncio.timeout(20):
            yield clients, nodes, engines
    finally:
        for each in (*clients, *nodes):
            await each.close()


def prefill_to(address: str) -> Step:
    return Step("prefill", StepKind.PREFILL, ("chat",), ("kv",), {KV_TO: address, "max_tokens": 8})


async def until_held(node: Node, count: int) -> None:
    while len(node._peers.early) != count:
        await asyncio.sleep(0.005)


async def test_a_cache_arrives_while_it_is_made(model_dir: Path) -> None:
    async with two_nodes(model_dir) as ((maker, taker), nodes, engines):
        (handle,) = (await maker.call(prefill_to(taker.address), (WORDS,), lambda _: None)).outputs
        await until_held(nodes[1], 1)
        moved = await taker.call(MOVE, (handle,), lambda _: None)
        assert moved.metrics.bytes_moved > 0
        told = (await taker.call(DECODE, moved.outputs, lambda _: None)).outputs
        (alone,) = (await maker.call(prefill_to(maker.address), (WORDS,), lambda _: None)).outputs
        assert told == (await maker.call(DECODE, (alone,), lambda _: None)).outputs
        assert not len(nodes[1]._peers.early)
        while [allocated(engine) for engine in engines] != [0, 0]:
            await asyncio.sleep(0.005)


@pytest.mark.parametrize("end", ["released", "withdrawn too late", "taker leaves"])
async def test_a_cache_that_nobody_takes_is_forgotten(model_dir: Path, end: str) -> None:
    async with two_nodes(model_dir) as ((maker, taker), nodes, engines):
        (handle,) = (await maker.call(prefill_to(taker.address), (WORDS,), lambda _: None)).outputs
        assert isinstance(handle, KvHandle)
        await until_held(nodes[1], 1)
        if end == "taker leaves":
            await nodes[1]._peers.close()
        elif end == "withdrawn too late":
            (moved,) = (await taker.call(MOVE, (handle,), lambda _: None)).outputs
            assert isinstance(moved, KvHandle)
            await taker.release(moved.sequence)
        await maker.release(handle.sequence)
        await until_held(nodes[1], 0)
        await maker.ping()
        await taker.ping()
        while [allocated(engine) for engine in engines] != [0, 0]:
            await asyncio.sleep(0.005)
        assert engines[0].scheduler.caches.spools.size_bytes == 0


async def test_pulls_that_fail_or_are_not_asked_for_are_closed(model_dir: Path) -> None:
    closed = list[int]()

    class Counted(KvPull):
        def close(self) -> None:
            closed.append(self.sequence)

    def pull(sequence: int) -> KvPull:
        return Counted(sequence, "m", lambda shape, *_: WholeSink(shape, lambda *_: 0))

    async def fetch(address: str, pull: KvPull) -> None:
        if pull.sequence == 1:
            raise RunError(subject="x", problem="failed", way_out="")
        if pull.sequence == 2:
            await asyncio.sleep(60)

    early = EarlyPulls(fetch, patience_s=0.01)
    for sequence in (0, 1, 2, 0):
        early.begin("a", pull(sequence))
    assert await early.take("a", 1) is None
    assert await early.take("b", 0) is None
    while 0 not in closed:
        await asyncio.sleep(0.005)  # patience was lost
    await early.close()
    assert sorted(closed) == [0, 1, 2]
