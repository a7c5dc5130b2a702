"""Nodes with tiers below the device: prefixes outlive eviction and restarts, and no tier's trouble is a request's."""

import asyncio
import contextlib
import json
import logging
import resource
import secrets
from collections.abc import AsyncGenerator
from pathlib import Path

import pytest

from tests.runtime import checkpoints
from tests.runtime.replies import tokens_of
from weft.core.errors import InputError
from weft.core.message import Message
from weft.core.program import Step, StepKind
from weft.policy.block_hash import block_hashes
from weft.policy.kv_blocks import BlockPool
from weft.policy.prefix_feed import SharedPrefixes
from weft.runtime.cache.node import NodeCache, open_tiers
from weft.runtime.client import NodeClient
from weft.runtime.engines.chat import Chat
from weft.runtime.engines.kept import KeptPrefixes
from weft.runtime.engines.torch_engine import TorchEngine
from weft.runtime.node import Node
from weft.runtime.services import LLM_KINDS, Services
from weft.runtime.spec import NodeSpec
from weft.runtime.transport.memory import MemoryTransport

PROMPT = [3 + index * 7 % 290 for index in range(70)]  # four full blocks and a part
OTHERS = [[index] * 70 for index in range(5, 11)]
STEPS = 8
MIB = 2**20


@pytest.fixture(scope="module")
def model_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return checkpoints.save(checkpoints.llama(), tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def expected(model_dir: Path) -> list[int]:
    return reply(TorchEngine.load(model_dir))[0]


def reply(engine: TorchEngine, prompt: list[int] = PROMPT, salt: str = "") -> tuple[list[int], int]:
    """Its tokens, and how many of the prompt were not computed."""
    prefilled = engine.prefill(prompt, salt=salt)
    tokens = [prefilled.first_token, *tokens_of(engine.decode(prefilled.sequence, STEPS))]
    engine.release(prefilled.sequence)
    return tokens, prefilled.cached_tokens


@contextlib.contextmanager
def cached(model_dir: Path, cache: NodeCache):
    engine = TorchEngine.load(model_dir, cache_tokens=160)
    engine.scheduler.offers.s_per_token = 0.01  # so slow that every tier is worth it
    tiers = open_tiers(cache, "pool/a", engine)
    try:
        yield engine, tiers
    finally:
        tiers.close()


def settle(engine: TorchEngine, tiers) -> None:
    engine._loop.call(lambda: None)  # what was posted before has been done
    assert engine.scheduler.offers.tiers is not None
    engine.scheduler.offers.tiers._saver.drain(5.0)
    assert tiers.manager.drain(5.0)


def test_what_left_the_device_comes_back_from_host_memory(model_dir: Path, expected: list[int]) -> None:
    with cached(model_dir, NodeCache(host_bytes=16 * MIB)) as (engine, tiers):
        assert reply(engine) == (expected, 0)
        settle(engine, tiers)
        for other in OTHERS:  # more than the device holds
            reply(engine, other)
        assert engine.held.on_device(block_hashes(PROMPT, 16)) == 0
        assert reply(engine) == (expected, 64)
        assert reply(engine, salt="another tenant") == (expected, 0)
        assert tiers.stats()["host.read"] >= 4


def test_a_restarted_node_finds_its_prefixes_on_disk(model_dir: Path, expected: list[int], tmp_path: Path) -> None:
    cache = NodeCache(host_bytes=MIB, disk_path=str(tmp_path), disk_bytes=16 * MIB)
    with cached(model_dir, cache) as (engine, tiers):
        reply(engine)
        settle(engine, tiers)
    assert (tmp_path / "pool_a").is_dir()
    with cached(model_dir, cache) as (engine, tiers):
        assert reply(engine) == (expected, 64)
        with pytest.raises(InputError, match="is in use by another process"):
            open_tiers(cache, "pool/a", engine)


def test_a_corrupted_file_is_refused_and_computed_again(
    model_dir: Path, expected: list[int], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    cache = NodeCache(disk_path=str(tmp_path), disk_bytes=16 * MIB)
    with cached(model_dir, cache) as (engine, tiers):
        reply(engine)
        settle(engine, tiers)
    files = sorted(tmp_path.rglob("*.kv"))
    assert len(files) >= 4
    for file in files:
        data = bytearray(file.read_bytes())
        data[len(data) // 2] ^= 1
        file.write_bytes(data)
    with cached(model_dir, cache) as (engine, tiers), caplog.at_level(logging.WARNING):
        assert reply(engine) == (expected, 0)
        assert tiers.stats()["disk.broken"] >= 1
    assert "checksum" in caplog.text


def test_a_store_that_is_down_and_a_disk_that_goes_cost_no_request(
    model_dir: Path, expected: list[int], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    url = "s3://nowhere/kv"
    pytest.importorskip("obstore")
    cache = NodeCache(
        disk_path=str(tmp_path), disk_bytes=16 * MIB, objects_url=url, objects_bytes=16 * MIB,
        objects_endpoint="http://127.0.0.1:9",
    )  # fmt: skip
    with cached(model_dir, cache) as (engine, tiers), caplog.at_level(logging.WARNING):
        reply(engine)
        settle(engine, tiers)
        for file in tmp_path.rglob("*.kv"):
            file.unlink()
        (tmp_path / "pool_a").chmod(0o500)
        for _ in range(3):
            for other in OTHERS:
                reply(engine, other)
            assert reply(engine)[0] == expected
        settle(engine, tiers)
        (tmp_path / "pool_a").chmod(0o700)
    assert "object store" in caplog.text


def test_a_full_disk_costs_no_request(
    model_dir: Path, expected: list[int], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """No file may grow beyond 4 KiB: to a node that is a disk without room (EFBIG, as ENOSPC)."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    with cached(model_dir, NodeCache(disk_path=str(tmp_path), disk_bytes=16 * MIB)) as (engine, tiers):
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limits[1]))
        try:
            for prompt in (PROMPT, *OTHERS, PROMPT):
                tokens, _ = reply(engine, prompt)
            settle(engine, tiers)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        assert tokens == expected
        assert tiers.stats()["disk.failed"] >= 1
        assert tiers.stats()["disk.blocks"] == 0
    assert "disk tier" in caplog.text
    assert "free some space" in caplog.text
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and path.name != "lock"]


def test_a_tenant_keeps_to_its_share(model_dir: Path) -> None:
    with cached(model_dir, NodeCache(host_bytes=2 * MIB, share=0.25)) as (engine, tiers):
        for other in [PROMPT, *OTHERS]:
            reply(engine, other, salt="a")
        settle(engine, tiers)
        assert 0 < tiers.stats()["host.bytes"] <= 0.25 * 2 * MIB
        engine.pin(engine.prefill(PROMPT, salt="a").sequence, 60.0)
        settle(engine, tiers)
        assert tiers.stats()["pins"] <= 1  # or refused, by its quota


def test_what_waits_for_a_tool_stays_until_it_goes_on(model_dir: Path) -> None:
    with cached(model_dir, NodeCache(host_bytes=MIB)) as (engine, tiers):  # 16 blocks
        prefilled = engine.prefill(PROMPT, salt="a")
        said = [prefilled.first_token, *tokens_of(engine.decode(prefilled.sequence, STEPS))]
        engine.pin(prefilled.sequence, 60.0)
        engine.release(prefilled.sequence)
        settle(engine, tiers)
        for other in OTHERS * 2:
            engine.scheduler.offers.s_per_token = 1.0  # dearer than what is pinned
            reply(engine, other)
            settle(engine, tiers)
        assert tiers.stats()["pins"] == 1
        assert tiers.stats()["host.evicted"] > 0
        _, cached_tokens = reply(engine, [*PROMPT, *said, 7], salt="a")
        assert cached_tokens == 64
        assert tiers.stats()["pins"] == 0


def test_on_the_device_too_it_is_the_last_to_go(model_dir: Path) -> None:
    engine = TorchEngine.load(model_dir, cache_tokens=160)
    pin = Services(NodeSpec("n", "cpu", LLM_KINDS), engine).pin
    assert pin is not None
    prefilled = engine.prefill(PROMPT)
    said = [prefilled.first_token, *tokens_of(engine.decode(prefilled.sequence, STEPS))]
    pin(prefilled.sequence, 60.0)
    engine.release(prefilled.sequence)
    for other in OTHERS:  # more than the device holds
        reply(engine, other)
    assert len(engine.scheduler.kept) == 1
    assert reply(engine, [*PROMPT, *said, 7])[1] == 64
    assert len(engine.scheduler.kept) == 0  # it went on
    for other in OTHERS:
        reply(engine, other)
    assert engine.held.on_device(block_hashes(PROMPT, 16)) == 0


def test_what_is_kept_ends_in_time_and_leaves_half_to_others() -> None:
    pool = BlockPool(8, 1)
    kept, prefixes = KeptPrefixes(pool), [(10, 11), (20, 21), (30, 31)]
    for at, hashes in enumerate(prefixes):
        table = pool.allocate(2, hashes)
        assert table is not None
        pool.publish(table, hashes, 2)
        pool.release(table)
        kept.keep(hashes, 60.0 - at)
        kept.keep(hashes, 60.0 - at)  # again is the same
    kept.keep((9,), 60.0)  # which nobody knows
    kept.keep(tuple(range(5)), 60.0)  # more than half
    assert len(kept) == 2
    pool.allocate(4)  # two are free: the first prefix, which is kept no longer, goes
    assert [pool.match(hashes) for hashes in prefixes] == [0, 2, 2]
    kept.expire(58.5)
    assert len(kept) == 1
    pool.allocate(2)
    assert [pool.match(hashes) for hashes in prefixes] == [0, 2, 0]


SCHEMA = {"type": "object", "properties": {"name": {"const": "f"}, "parameters": {"const": {}}}}
CALL = json.dumps({**SCHEMA, "required": ["name", "parameters"]})
TOOLS = json.dumps([{"type": "function", "function": {"name": "f"}}])


@pytest.mark.parametrize(
    ("terms", "pins"),
    [
        ({}, 0),
        ({"kv_keep_s": 60.0}, 1),
        ({"json_schema": CALL, "tools": TOOLS, "max_tokens": 200}, 1),  # the reply is a call
        ({"json_schema": CALL, "max_tokens": 200}, 0),
    ],
)
async def test_a_node_keeps_what_waits_for_a_tool(tmp_path: Path, terms: dict[str, str | float], pins: int) -> None:
    taught = checkpoints.CHAT_TEMPLATE + "{% if tools %}{{ tools | tojson }}{% endif %}"
    folder = checkpoints.save_tokenizer(checkpoints.chat_model(tmp_path), chat_template=taught)
    engine, transport = TorchEngine.load(folder, cache_tokens=512), MemoryTransport()
    tiers = open_tiers(NodeCache(host_bytes=16 * MIB), "n", engine)
    node = Node(Services(NodeSpec("n", "cpu", LLM_KINDS), engine, Chat.load(folder), tiers=tiers), transport)
    client = await NodeClient.open("n", transport, await node.listen())
    asked = {"max_tokens": 4, **terms}
    chat = (Message("user", "how much memory does the gpu have? " * 3),)
    given = await client.call(Step("p", StepKind.PREFILL, ("c",), ("kv",), asked), (chat,), lambda _: None)
    await client.call(Step("d", StepKind.DECODE, ("kv",), ("text",), asked), given.outputs, lambda _: None)
    await asyncio.to_thread(settle, engine, tiers)
    assert tiers.stats()["pins"] == pins
    await client.close()
    await node.close()


@contextlib.asynccontextmanager
async def serving(model_dir: Path) -> AsyncGenerator[tuple[TorchEngine, NodeClient], None]:
    engine, transport = TorchEngine.load(model_dir), MemoryTransport()
    node = Node(Services(NodeSpec("n", "cpu", (StepKind.PREFILL,), secrets.token_hex(32)), engine), transport)
    client = await NodeClient.open("n", transport, await node.listen())
    try:
        yield engine, client
    finally:
        await client.close()
        await node.close()


async def test_a_router_knows_what_a_node_holds(model_dir: Path) -> None:
    async with serving(model_dir) as (engine, client), asyncio.timeout(10):
        assert client.info.block_size == 16
        shared, hashes = SharedPrefixes(), block_hashes(PROMPT, 16)
        await asyncio.to_thread(reply, engine, OTHERS[0])
        async with contextlib.aclosing(client.watch_prefixes()) as news:
            shared.receive(await anext(news))
            assert shared.match(block_hashes(OTHERS[0], 16)) == {"n": 4}
            assert not shared.match(hashes)
            await asyncio.to_thread(reply, engine)
            while not shared.match(hashes):
                assert not shared.receive(await anext(news))
        assert shared.match(hashes) == {"n": 4}
