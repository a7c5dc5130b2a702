"""A cache that travels while its prompt is still computed: by layers, into another node, and never half of it."""

import asyncio
import contextlib
import threading
from collections.abc import AsyncGenerator, Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.runtime import checkpoints
from tests.runtime.replies import tokens_of
from tests.runtime.test_kv_moves import moved
from weft.core.errors import RunError
from weft.core.message import Message
from weft.core.program import Step, StepKind
from weft.policy.batcher import Limits
from weft.runtime.client import NodeClient
from weft.runtime.engines.batch import Piece
from weft.runtime.engines.chat import Chat
from weft.runtime.engines.executor import Stored
from weft.runtime.engines.generation import Generation
from weft.runtime.engines.growth import Growth, GrowthSource
from weft.runtime.engines.kv_moves import BlockSource
from weft.runtime.engines.paged_kv import Rows
from weft.runtime.engines.requests import Request
from weft.runtime.engines.torch_engine import TorchEngine
from weft.runtime.handlers import KV_TO
from weft.runtime.kv.early import EarlyPulls
from weft.runtime.kv.pull import KvPull, Place
from weft.runtime.kv.whole import WholeSink
from weft.runtime.kv.wire import encode_chunk, encode_prelude
from weft.runtime.node import Node
from weft.runtime.services import LLM_KINDS, Services
from weft.runtime.spec import NodeSpec
from weft.runtime.transport.buffers import BufferPool
from weft.runtime.transport.memory import MemoryTransport
from weft.runtime.values import KvHandle

CHUNK = 16
PROMPT = [3 + index * 7 % 290 for index in range(70)]
LONG = [3 + index * 11 % 290 for index in range(90)]
WORDS = (Message("user", "weft " * 12),)
DECODE = Step("decode", StepKind.DECODE, ("kv",), ("text",), {"max_tokens": 8})
MOVE = Step("move", StepKind.KV_TRANSFER, ("kv",), ("kv",), {})


@pytest.fixture(scope="module")
def model_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return checkpoints.chat_model(tmp_path_factory.mktemp("model"))


def engine_of(model_dir: Path) -> TorchEngine:
    return TorchEngine.load(model_dir, limits=Limits(4, CHUNK), cache_tokens=512)


def allocated(engine: TorchEngine) -> int:
    engine._loop.call(lambda: None)  # what was posted before has been done
    return engine.load_now.allocated_blocks


@contextlib.contextmanager
def held_after_layer(engine: TorchEngine, layer: int) -> Generator[threading.Event]:
    """Passes that are listened to stop there until the block ends. The event: one has."""
    logits, there, go_on = engine._executor.logits, threading.Event(), threading.Event()

    def listened(pieces: Sequence[Piece], stored: Stored | None = None) -> Tensor:
        def told(each: int) -> None:
            assert stored is not None
            stored(each)
            if each == layer:
                there.set()
                assert go_on.wait(5)

        return logits(pieces, told if stored is not None else None)

    engine._executor.logits = listened
    try:
        yield there
    finally:
        go_on.set()


@pytest.mark.parametrize("prompt", [PROMPT[:CHUNK], PROMPT])
def test_a_layer_can_be_read_before_the_next_is_computed(model_dir: Path, prompt: list[int]) -> None:
    here, there, begun = engine_of(model_dir), engine_of(model_dir), list[int]()
    with ThreadPoolExecutor(2) as pool:
        with held_after_layer(here, 0) as stored:
            prefilling = pool.submit(lambda: here.prefill(prompt, begun=begun.append))
            assert stored.wait(5)
            source = here.open_export(begun[0])
            assert (source.shape.tokens, source.prompt) == (len(prompt), tuple(prompt))
            assert source.ready(0) == CHUNK
            first = b"".join(source.read(0, 0, CHUNK))
            second = pool.submit(lambda: b"".join(source.read(1, 0, CHUNK)))
            assert not second.done()
        prefilled = prefilling.result()
        assert second.result() != first
    whole = here.open_export(prefilled.sequence)
    assert isinstance(whole, BlockSource)  # it rests: nothing is copied any more
    assert b"".join(whole.read(0, 0, CHUNK)) == first
    assert b"".join(whole.read(1, 0, CHUNK)) == second.result()
    whole.close()
    sequence = moved(source, there, prefilled.first_token)
    expected = tokens_of(here.decode(prefilled.sequence, 8))
    assert tokens_of(there.decode(sequence, 8)) == expected
    assert len(here.scheduler.caches.growths) == 0


def test_a_prompt_that_loses_its_blocks_is_read_on_when_it_is_computed_again(model_dir: Path) -> None:
    here = TorchEngine.load(model_dir, limits=Limits(4, CHUNK, headroom=0), cache_tokens=128)
    there, begun, scheduler = engine_of(model_dir), Future[int](), here.scheduler
    other, mine = here.new_sequence(), here.new_sequence()
    reply, first = Generation(lambda: None), Generation(lambda: None)

    def start() -> None:
        scheduler.start(other, Request(PROMPT[:30], 8), reply.listener)  # needs a block more after its second token
        prompt = Request(LONG, 1)
        scheduler.start(mine, prompt, first.listener, keep=True, begun=begun.set_result)

    here._loop.call(start)
    source = here.open_export(begun.result(5))
    pull = KvPull(0, there.model_hash, there.open_import)
    pull.begin(encode_prelude(source.shape), source.prompt)
    for start_ in range(0, len(LONG), CHUNK):
        for layer in range(source.shape.layers):
            end = min(start_ + CHUNK, len(LONG))
            pull.add(b"".join(encode_chunk(layer, start_, end - start_, source.read(layer, start_, end))))
    (token,) = tokens_of(first)
    kept = scheduler.sequences.tracks[mine].kept
    assert kept is not None and kept.preemptions == 1
    expected = [token, *tokens_of(here.decode(mine, 8))]
    assert [token, *tokens_of(there.decode(pull.finish(token), 8))] == expected
    alone = engine_of(model_dir).generate(Request(LONG, 9))
    assert tokens_of(alone) == expected


def test_who_loses_blocks_waits_for_their_readers() -> None:
    class Slow(Rows):
        def read(self, layer: int, first: int, end: int) -> tuple[memoryview, ...]:
            inside.set()
            assert go_on.wait(5)
            return (memoryview(bytes([layer, first, end])),)

    inside, go_on, nothing, pool = threading.Event(), threading.Event(), torch.empty(0), BufferPool()
    growth = Growth((1, 2, 3), "", np.empty(0), Slow(nothing, nothing, np.empty(0)))
    growth.reach(Place(0, 1, 3))
    with ThreadPoolExecutor(2) as threads:
        reading = threads.submit(lambda: bytes(growth.read(0, 1, 3, pool)))
        assert inside.wait(5)
        losing = threads.submit(growth.lose)
        assert not losing.done()
        go_on.set()
        assert reading.result() == bytes([0, 1, 3])
        losing.result()
        again = threads.submit(lambda: bytes(growth.read(0, 1, 3, pool)))
        growth.reach(Place(2))
        assert not again.done()
        growth.reach(Place(2, 1, 3))
        assert again.result() == bytes([0, 1, 3])


def test_blocks_that_others_take_are_read_no_more(model_dir: Path) -> None:
    engine, begun = TorchEngine.load(model_dir, limits=Limits(4, CHUNK), cache_tokens=128), list[int]()
    prefilled = engine.prefill(PROMPT, begun=begun.append)
    growth = engine.scheduler.caches.growths._growths[prefilled.sequence]
    early = GrowthSource(growth, engine._shape(len(PROMPT)), engine._copies)
    assert early.ready(0) == len(PROMPT)
    expected = b"".join(early.read(1, 0, CHUNK))
    list(engine.generate(Request(LONG, 2)))  # for which there is no room beside it
    with pytest.raises(RunError):
        early.read(0, 0, CHUNK)
    later = engine.open_export(prefilled.sequence)
    assert b"".join(later.read(1, 0, CHUNK)) == expected


def test_a_prefill_that_ends_early_ends_its_readers(model_dir: Path) -> None:
    engine, begun = engine_of(model_dir), list[int]()

    def tell(sequence: int) -> None:
        begun.append(sequence)
        engine.release(sequence)

    with pytest.raises(ValueError):
        engine.prefill(PROMPT, begun=tell)
    with pytest.raises(RunError):
        engine.open_export(begun[0]).ready(CHUNK)
    assert len(engine.scheduler.caches.growths) == 0
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
        assert len(engines[0].scheduler.caches.growths) == 0


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
