"""The levels together: what is saved is loaded, wherever it is by then, and nothing that goes wrong below stops it."""

import random
import threading
from pathlib import Path

import pytest

from tests.runtime.cache.places import FORMAT, Clock, Flaky, chain, disk, host, payload
from weft.core.errors import CacheError, CapacityError, QuotaError, TierFullError
from weft.policy.circuit import CircuitConfig
from weft.runtime.cache.base import Block
from weft.runtime.cache.disk import DiskTier
from weft.runtime.cache.host import HostTier
from weft.runtime.cache.level import Level, LevelConfig
from weft.runtime.cache.manager import CacheManager, ManagerConfig
from weft.runtime.cache.model_cache import ModelCache
from weft.runtime.cache.names import BlockFormat, Key


def _save(cache: ModelCache, blocks: list[Block]) -> None:
    for block in blocks:
        cache.save(block, payload(block.hash))


def _loaded(cache: ModelCache, hashes: list[int]) -> int:
    """How many leading blocks come back; they must be the right ones."""
    found = cache.load(hashes)
    assert [bytes(each) for each in found] == [payload(hash_) for hash_ in hashes[: len(found)]]
    return len(found)


def test_what_the_host_loses_comes_from_the_disk(tmp_path: Path) -> None:
    clock = Clock()
    with CacheManager([host(4, clock), disk(tmp_path, clock)], clock=clock) as manager:
        cache = ModelCache(manager, FORMAT)
        blocks = chain(10)
        for block in blocks:
            assert cache.save(block, payload(block.hash))
            assert manager.drain()
        hashes = [block.hash for block in blocks]
        found = cache.lookup([*hashes, 99])
        assert found.blocks == 10
        assert set(found.places) == {"host", "disk"}
        assert found.worth == 10
        assert _loaded(cache, hashes) == 10
        assert cache.lookup([99, *hashes]).blocks == 0
        prefetched = cache.prefetch(hashes)
        assert prefetched is not None
        assert prefetched.result() == 10
        assert manager.stats()["host.bytes"] <= 4 * 8192
        assert ModelCache(manager, BlockFormat("n" * 64, 16, "bfloat16")).lookup(hashes).blocks == 0


def test_a_restart_finds_what_was_written_and_drops_what_is_broken(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    clock, hashes = Clock(), list(range(1, 9))
    with CacheManager([host(8, clock), disk(tmp_path, clock)], clock=clock) as manager:
        _save(ModelCache(manager, FORMAT), chain(8))
    files = sorted(tmp_path.rglob("*.kv"))
    files[5].write_bytes(files[5].read_bytes()[:-1])
    (tmp_path / FORMAT.space / "00" / "stranger.txt").touch()
    with CacheManager([host(8, clock), disk(tmp_path, clock)], clock=clock) as manager:
        cache = ModelCache(manager, FORMAT)
        assert "1 things that are no blocks" in caplog.text
        assert cache.lookup(hashes).blocks == 8
        assert _loaded(cache, hashes) == 5
        assert "has 5000 of 5000" in caplog.text or "bytes" in caplog.text
        assert cache.lookup(hashes).blocks == 5
        assert manager.stats()["disk.broken"] == 1
        _save(cache, chain(8))
        assert manager.drain()
        assert _loaded(cache, hashes) == 8
    assert len(list(tmp_path.rglob("*.kv"))) == 8


def test_a_full_disk_leaves_the_rest_running(caplog: pytest.LogCaptureFixture, tmp_path: Path) -> None:
    clock = Clock()
    flaky = Flaky(DiskTier(tmp_path, sync=False))
    below = Level(flaky, LevelConfig(1 << 20, 1e8), clock=clock)
    with CacheManager([host(100, clock), below], clock=clock) as manager:
        cache = ModelCache(manager, FORMAT)
        _save(cache, chain(10))
        manager.drain()
        flaky.error = TierFullError(subject="disk", problem="no space", way_out="free some")
        _save(cache, chain(10, start=50))
        manager.drain()
        assert caplog.text.count("no space") == 1
        assert _loaded(cache, list(range(50, 60))) == 10
        assert manager.stats()["disk.blocks"] <= 10
        flaky.error = None
        _save(cache, chain(5, start=80))
        manager.drain()
        assert manager.stats()["disk.blocks"] <= 10
        clock.now_s += 60
        _save(cache, chain(10, start=100))
        manager.drain()
        assert manager.stats()["disk.blocks"] >= 10
        assert _loaded(cache, list(range(100, 110))) == 10
    assert len(list(tmp_path.rglob("*.kv"))) == manager.stats()["disk.blocks"]


def test_a_tier_that_is_down_is_left_alone_and_tried_again(tmp_path: Path) -> None:
    clock = Clock()
    flaky = Flaky(DiskTier(tmp_path, sync=False))
    below = Level(flaky, LevelConfig(1 << 20, 1e8, circuit=CircuitConfig(failures=2, pause_s=10.0)), clock=clock)
    with CacheManager([host(2, clock), below], clock=clock) as manager:
        cache = ModelCache(manager, FORMAT)
        for block in chain(6):
            cache.save(block, payload(block.hash))
            manager.drain()
        assert cache.lookup([1, 2, 3, 4, 5, 6]).blocks == 6
        flaky.error = CacheError(subject="store", problem="down", way_out="wait")
        asked = flaky.asked
        for at in range(5):
            found = _loaded(cache, [1, 2, 3, 4, 5, 6])
            assert found < 6
            assert cache.save(Block(200 + at, None, 1.0), payload(200 + at))
            manager.drain()
        assert flaky.asked - asked <= 2 + 4  # threads that are on their way
        assert cache.lookup([1, 2, 3, 4, 5, 6]).blocks < 6
        flaky.error = None
        clock.now_s += 11
        assert cache.lookup([1, 2, 3, 4, 5, 6]).blocks == 6
        assert _loaded(cache, [1, 2, 3, 4, 5, 6]) >= 1  # one call probes, the others are not let through
        assert _loaded(cache, [1, 2, 3, 4, 5, 6]) == 6


def test_a_tenant_over_its_share_loses_its_own_blocks(tmp_path: Path) -> None:
    clock = Clock()
    with CacheManager([host(10, clock, share=0.4)], clock=clock) as manager:
        cache = ModelCache(manager, FORMAT)
        _save(cache, chain(3, start=1, tenant="a"))
        for start in (100, 200, 300, 400):
            clock.now_s += 1
            _save(cache, chain(3, start=start, tenant="b"))
        assert cache.lookup([1, 2, 3]).blocks == 3
        assert cache.lookup([100]).blocks == 0
        assert manager.levels[0].tenant_bytes("b") == 4 * 8192
        pin = cache.pin([1, 2], 60.0, "a")
        with pytest.raises(QuotaError, match="tenant 'a': pins 16384 bytes and asks for 8192 more"):
            cache.pin([3], 60.0, "a")
        cache.unpin(pin)
        cache.pin([3], 60.0, "a")
        with pytest.raises(CapacityError, match="has a name of 60 bytes"):
            cache.save(Block(1, None, 1.0, "x" * 60), b"")
        manager.forget("b")
        assert manager.levels[0].tenant_bytes("b") == 0
        assert cache.lookup([1, 2, 3]).blocks == 3


def test_pins_hold_until_their_deadline_and_the_last_of_them() -> None:
    clock = Clock()
    with CacheManager([host(4, clock)], clock=clock) as manager:
        cache = ModelCache(manager, FORMAT)
        _save(cache, chain(2))
        first, second = cache.pin([1, 2], 30.0), cache.pin([1, 2], 60.0)
        cache.unpin(first)
        cache.unpin(first)
        for at in range(10):
            clock.now_s += 4
            cache.save(Block(100 + at, None, 1.0), payload(100 + at))
        assert cache.lookup([1, 2]).blocks == 2
        clock.now_s = 500.0
        _save(cache, chain(4, start=200))
        assert cache.lookup([1, 2]).blocks == 0
        cache.unpin(second)


def test_what_is_dearer_to_fetch_than_to_compute_is_not_kept() -> None:
    clock = Clock()
    with CacheManager([host(4, clock)], clock=clock) as manager:
        cache = ModelCache(manager, FORMAT)
        assert not cache.save(Block(1, None, 1e-9), payload(1))
        assert cache.lookup([1]).blocks == 0


def test_blocks_asked_for_again_go_further_down(tmp_path: Path) -> None:
    clock = Clock()
    below = Level(DiskTier(tmp_path, sync=False), LevelConfig(1 << 20, 1e8, min_uses=2), clock=clock)
    with CacheManager([host(10, clock), below], clock=clock) as manager:
        cache = ModelCache(manager, FORMAT)
        _save(cache, chain(3))
        for stored in (0, 0, 2):
            manager.drain()
            assert manager.stats()["disk.blocks"] == stored
            cache.lookup([1, 2])


def test_writes_that_find_no_room_in_the_queue_are_dropped_and_counted(tmp_path: Path) -> None:
    clock, gate = Clock(), threading.Event()

    class Slow(Flaky):
        def put(self, name: str, parts: object) -> None:
            gate.wait()
            super().put(name, parts)  # pyright: ignore[reportArgumentType]

    below = Level(Slow(DiskTier(tmp_path, sync=False)), LevelConfig(1 << 20, 1e8), clock=clock)
    config = ManagerConfig(write_threads=1, writes_waiting=2)
    with CacheManager([host(50, clock), below], config, clock=clock) as manager:
        cache = ModelCache(manager, FORMAT)
        _save(cache, chain(20))
        assert manager.stats()["writes_dropped"] >= 17
        assert _loaded(cache, list(range(1, 21))) == 20
        gate.set()


def test_listeners_are_told_of_every_block_that_comes_and_goes(tmp_path: Path) -> None:
    clock, here, noise = Clock(), set[Key](), random.Random(0)

    def changed(came: object, left: object) -> None:
        assert not here & set(came)  # pyright: ignore
        assert here >= set(left)  # pyright: ignore
        here.update(came)  # pyright: ignore
        here.difference_update(left)  # pyright: ignore

    manager = CacheManager([host(6, clock), disk(tmp_path, clock, blocks=12)], None, changed, clock)
    cache = ModelCache(manager, FORMAT)

    def work(seed: int) -> None:
        noise = random.Random(seed)
        for _ in range(60):
            start = noise.choice((10, 20, 30, 40))
            _save(cache, chain(noise.randint(1, 8), start))
            _loaded(cache, list(range(start, start + 8)))

    threads = [threading.Thread(target=work, args=(noise.random(),)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert manager.drain()
    assert here == set(manager.held())
    stats = manager.stats()
    assert stats["host.bytes"] <= 6 * 8192
    assert stats["disk.bytes"] <= 12 * 8192
    assert len(list(tmp_path.rglob("*.kv"))) == stats["disk.blocks"]
    assert len(list(manager.levels[0].tier.scan())) == stats["host.blocks"]
    manager.close()


def test_impossible_terms_are_refused() -> None:
    with pytest.raises(CapacityError, match="cache level"):
        LevelConfig(0, 1.0)
    with pytest.raises(CapacityError, match=r"shares \[1.0, 2.0\]"):
        LevelConfig(1, 1.0, shares={"a": 2.0})
    with pytest.raises(CapacityError, match="cache manager"):
        ManagerConfig(write_threads=0)
    with pytest.raises(CapacityError, match="host tier"):
        HostTier(10)
