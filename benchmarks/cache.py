"""A cache of KV blocks: how fast each tier saves and loads, beside memcpy and plain files; hit rates, beside LRU's.

Blocks of 2 MiB (16 tokens of an 8B Llama in 16 bit). The object store is moto's S3 server, Python on this machine: its
rate says that the path works, not what S3 does. Hit rates are of Mooncake's conversation trace (12,031 requests, blocks
of 512 tokens) on one cache of so many blocks; the best is Belady's, which knows the future. The goal is to be nowhere
more than 1 % behind LRU.
"""

import heapq
import logging
import os
import secrets
import statistics
import sys
import tempfile
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from pathlib import Path
from urllib.request import Request, urlopen

import numpy as np
from moto.server import ThreadedMotoServer

from harness import Measurement, main
from weft.policy.block_value import EvictionOrder
from weft.runtime.cache.base import Block, Tier
from weft.runtime.cache.disk import DiskTier
from weft.runtime.cache.host import HostTier
from weft.runtime.cache.keys import KeyRing
from weft.runtime.cache.level import Level, LevelConfig
from weft.runtime.cache.names import BlockFormat, Stored
from weft.runtime.cache.objects import ObjectTier
from weft.traces.mooncake import read_mooncake

BLOCK_BYTES, BLOCKS, RUNS = 2 << 20, 48, 5
TRACE = Path(__file__).parents[2] / "shared/data/traces/mooncake_conversation_trace.jsonl"
SIZES = (1_000, 3_000, 10_000, 30_000, 60_000)
WORK_PER_BLOCK = 0.0096
"""By how much the prefill of a block grows with each block before it: attention of a 70B Llama, 512 tokens a block."""

Trace = list[tuple[float, tuple[int, ...]]]


def timed_s(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def rate(seconds: Sequence[float]) -> float:
    return BLOCKS * BLOCK_BYTES / statistics.median(seconds) / 1e9


class Rates:
    """Save and load of the same blocks, in GB/s."""

    def __init__(self, folder: Path) -> None:
        noise = np.random.default_rng(0)
        self.blocks = [noise.bytes(BLOCK_BYTES) for _ in range(BLOCKS)]
        self.folder = folder
        space = BlockFormat("m" * 64, 16, "bfloat16").space
        self.stored = [Stored(space, Block(at, None, 1.0)) for at in range(BLOCKS)]

    def memcpy(self) -> float:
        target = np.zeros(BLOCKS * BLOCK_BYTES, np.uint8)

        def copy() -> None:
            for at, block in enumerate(self.blocks):
                target[at * BLOCK_BYTES : (at + 1) * BLOCK_BYTES] = np.frombuffer(block, np.uint8)

        return rate([timed_s(copy) for _ in range(RUNS)])

    def plain_files(self, *, sync: bool) -> tuple[float, float]:
        paths = [self.folder / f"plain-{at}" for at in range(BLOCKS)]

        def write() -> None:
            for path, block in zip(paths, self.blocks, strict=True):
                path.unlink(missing_ok=True)
                with path.open("wb", buffering=0) as file:
                    file.write(block)
                    if sync:
                        os.fdatasync(file.fileno())

        def read() -> None:
            for path in paths:
                path.read_bytes()

        return rate([timed_s(write) for _ in range(RUNS)]), rate([timed_s(read) for _ in range(RUNS)])

    def tier(self, tier: Tier, keys: KeyRing | None = None, runs: int = RUNS) -> tuple[float, float]:
        level = Level(tier, LevelConfig(2 * BLOCKS * BLOCK_BYTES, 1e9), keys)
        saves, loads = list[float](), list[float]()
        for _ in range(runs):
            saves.append(timed_s(lambda: self._each(self._save, level)))
            loads.append(timed_s(lambda: self._each(self._load, level)))
            for stored in self.stored:
                level.drop(stored.key)
        tier.close()
        return rate(saves), rate(loads)

    def _save(self, level: Level, at: int) -> None:
        assert level.write(self.stored[at], self.blocks[at], 1.0)

    def _load(self, level: Level, at: int) -> None:
        assert level.read(self.stored[at].key) is not None

    def _each(self, do: Callable[[Level, int], None], level: Level) -> None:
        """One after the other, as the plain files; each block is let go before the next."""
        for at in range(BLOCKS):
            do(level, at)


def tier_rates() -> list[Measurement]:
    with tempfile.TemporaryDirectory() as name:
        folder, made = Path(name), Rates(Path(name))
        copy = made.memcpy()
        write, read = made.plain_files(sync=False)
        write_synced, _ = made.plain_files(sync=True)
        host = made.tier(HostTier(2 * BLOCKS * BLOCK_BYTES))
        disk = made.tier(DiskTier(folder / "disk", sync=False))
        synced = made.tier(DiskTier(folder / "synced"))
        sealed = made.tier(DiskTier(folder / "sealed", sync=False), KeyRing([_key(folder)]))
        objects = _s3_rates(made)
    return [
        *_beside("host", host, (copy, copy), 0.5, "memcpy"),
        *_beside("disk, not synced", disk, (write, read), 0.6, "plain files, not synced"),
        *_beside("disk, synced", synced, (write_synced, read), 0.6, "plain files, synced"),
        *_beside("disk, encrypted", sealed, (write, read), None, "plain files, not synced"),
        *_beside("S3 on this machine", objects, (write, read), None, "plain files, not synced"),
    ]


def _beside(
    name: str, found: tuple[float, float], peer: tuple[float, float], goal: float | None, peer_name: str
) -> list[Measurement]:
    rows = list[Measurement]()
    for what, ours, theirs in zip(("save", "load"), found, peer, strict=True):
        rows.append(Measurement(f"{name}: {what}", ours, "GB/s"))
        rows.append(Measurement("  over", ours / theirs, "x", goal, "higher", f"{peer_name}, {theirs:.3g} GB/s"))
    return rows


def _key(folder: Path) -> Path:
    path = folder / "key"
    path.touch(mode=0o600)
    path.write_bytes(secrets.token_bytes(32))
    return path


def _s3_rates(made: Rates) -> tuple[float, float]:
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    os.environ |= {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b", "AWS_DEFAULT_REGION": "us-east-1"}
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    urlopen(Request(f"http://{host}:{port}/weft", method="PUT")).close()
    found = made.tier(ObjectTier.open("s3://weft/kv", endpoint=f"http://{host}:{port}"), runs=1)
    server.stop()
    return found


def read_trace() -> Trace:
    return [(request.at_s, request.calls[0].blocks) for request in read_mooncake(TRACE)]


def leading(hashes: Sequence[int], held: Callable[[int], bool]) -> int:
    return next((at for at, hash_ in enumerate(hashes) if not held(hash_)), len(hashes))


def work(blocks: int) -> float:
    """Of the prefill of so many leading blocks."""
    return blocks + WORK_PER_BLOCK * blocks * (blocks - 1) / 2


class Lru:
    """The end of a prefix before its start."""

    def __init__(self, room: int) -> None:
        self._room = room
        self._held: OrderedDict[int, None] = OrderedDict()

    def ask(self, _: int, _now_s: float, hashes: Sequence[int]) -> int:
        hits = leading(hashes, self._held.__contains__)
        for hash_ in reversed(hashes):
            self._held[hash_] = None
            self._held.move_to_end(hash_)
        while len(self._held) > self._room:
            self._held.popitem(last=False)
        return hits


class ByValue:
    def __init__(self, room: int) -> None:
        self._room = room
        self._order: EvictionOrder[int] = EvictionOrder()

    def ask(self, _: int, now_s: float, hashes: Sequence[int]) -> int:
        order = self._order
        hits = leading(hashes, order.__contains__)
        order.use(hashes, now_s)
        for at, hash_ in enumerate(hashes):
            if hash_ not in order:
                order.add(hash_, hashes[at - 1] if at else None, "", 1, 1 + WORK_PER_BLOCK * at, now_s)
        while len(order) > self._room:
            victim = order.victim(now_s)
            assert victim is not None
            order.remove(victim)
        return hits


class Belady:
    """What is used again last goes first; it is told the trace."""

    def __init__(self, room: int, trace: Trace) -> None:
        self._room = room
        self._next = [dict[int, float]() for _ in trace]
        seen: dict[int, float] = {}
        for at in range(len(trace) - 1, -1, -1):
            self._next[at] = {hash_: seen.get(hash_, float("inf")) for hash_ in trace[at][1]}
            seen.update(dict.fromkeys(trace[at][1], float(at)))
        self._held: dict[int, float] = {}
        self._latest: list[tuple[float, int]] = []

    def ask(self, at: int, _now_s: float, hashes: Sequence[int]) -> int:
        hits = leading(hashes, self._held.__contains__)
        for hash_, then in self._next[at].items():
            self._held[hash_] = then
            heapq.heappush(self._latest, (-then, hash_))
        while len(self._held) > self._room:
            then, hash_ = heapq.heappop(self._latest)
            if self._held.get(hash_) == -then:
                del self._held[hash_]
        return hits


def replay(trace: Trace, cache: Lru | ByValue | Belady) -> tuple[float, float]:
    """Shares of blocks hit, and of prefill work saved."""
    hits, saved, asked, all_work = 0, 0.0, 0, 0.0
    for at, (now_s, hashes) in enumerate(trace):
        found = cache.ask(at, now_s, hashes)
        hits, asked = hits + found, asked + len(hashes)
        saved, all_work = saved + work(found), all_work + work(len(hashes))
    return hits / asked, saved / all_work


def hit_rates() -> list[Measurement]:
    if not TRACE.exists():
        return []
    trace, rows = read_trace(), list[Measurement]()
    for room in SIZES:
        lru, lru_saved = replay(trace, Lru(room))
        ours, ours_saved = replay(trace, ByValue(room))
        best, _ = replay(trace, Belady(room, trace))
        beside = f"LRU {lru:.2%}; knowing the future {best:.2%}"
        rows.append(Measurement(f"hit rate by value, {room:,} blocks", 100 * ours, "%", 99 * lru, "higher", beside))
        rows.append(
            Measurement("  prefill work saved", ours_saved / lru_saved, "x", 0.99, "higher", f"LRU's {lru_saved:.2%}")
        )
    return rows


if __name__ == "__main__":
    sys.exit(main([*tier_rates(), *hit_rates()]))
