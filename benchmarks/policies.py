"""CPU time of each policy's hot operation, beside a reference that does the same or bounds it. Medians over rounds.

The peer (a Rust radix tree behind Python bindings) gets a virtual environment of its own under build/peers, made on the
first run; without a network its rows are left out and the reason is printed.
"""

import json
import random
import statistics
import subprocess
import sys
import time
import venv
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from heapq import heappop, heappush
from itertools import count
from pathlib import Path

from harness import Measurement, main
from weft.core.workload import Slo
from weft.policy.admission import Admission
from weft.policy.batcher import Batcher, Limits
from weft.policy.block_hash import SessionHashes, block_hashes
from weft.policy.fairness import FairQueue
from weft.policy.kv_blocks import BlockPool
from weft.policy.pairs import PairRouter
from weft.policy.pairs import Path as LinkPath
from weft.policy.prefix_index import PrefixIndex
from weft.policy.retention import Cache, retain
from weft.policy.router import Router, RouterConfig
from weft.policy.sequence import Sequence
from weft.policy.workers import Candidates, Request, Tally, Worker

PEER = "ai-dynamo-runtime==1.6.1"
PEER_VENV = Path(__file__).parents[1] / "build/peers" / PEER.replace("==", "-")
WORKERS, BLOCKS, ROUNDS = 8, 96, 15
PREFIX = tuple(range(1, BLOCKS + 1))
HELD = [5 + 13 * worker % BLOCKS for worker in range(WORKERS)]
"""Blocks of the prefix that each worker holds."""

_PEER_CODE = f"""
import json, statistics, time
from dynamo._core import RadixTree

tree, event = RadixTree(), 0
def store(worker, hashes):
    global event
    event += 1
    blocks = [{{"block_hash": each, "tokens_hash": each}} for each in hashes]
    data = {{"stored": {{"parent_hash": None, "blocks": blocks}}}}
    return json.dumps({{"event_id": event, "data": data, "dp_rank": 0}}).encode()
prefix = {list(PREFIX)}
for worker, held in enumerate({HELD}):
    tree.apply_event(worker, store(worker, prefix[:held]))
def cpu(act, times):
    rounds = []
    for _ in range({ROUNDS}):
        started = time.process_time()
        for _ in range(times):
            act()
        rounds.append((time.process_time() - started) / times)
    return statistics.median(rounds)
look_up = cpu(lambda: tree.find_matches(prefix), 300)
scores = {{worker: score for (worker, _), score in tree.find_matches(prefix).scores.items()}}
events = [store(0, range(at, at + 96)) for at in range(10**6, 10**6 + 96 * 4000, 96)]
started = time.process_time()
for each in events:
    tree.apply_event(0, each)
tree.find_matches(prefix)
print(json.dumps([look_up, (time.process_time() - started) / len(events) / 96, scores]))
"""


@dataclass(frozen=True, slots=True)
class Peer:
    """CPU seconds of a look-up and of one inserted block, and what the look-up said."""

    look_up_s: float
    insert_s: float
    scores: dict[int, int]


def cpu_s(act: Callable[[], object], times: int) -> float:
    """CPU seconds of one call: the median over rounds of `times` calls."""
    return statistics.median(_round(act, times) for _ in range(ROUNDS))


def both_cpu_s(ours: Callable[[], object], other: Callable[[], object], times: int) -> tuple[float, float]:
    """CPU seconds of one call of each, rounds in turn, so that a busy machine slows both."""
    rounds = [(_round(ours, times), _round(other, times)) for _ in range(ROUNDS)]
    return statistics.median(first for first, _ in rounds), statistics.median(second for _, second in rounds)


def _round(act: Callable[[], object], times: int) -> float:
    started = time.process_time()
    for _ in range(times):
        act()
    return (time.process_time() - started) / times


def peer() -> Peer | None:
    try:
        if not (PEER_VENV / ".ready").exists():
            venv.create(PEER_VENV, with_pip=True, clear=True)
            install = [PEER_VENV / "bin/pip", "install", "-q", "--no-deps", PEER]
            subprocess.run(install, check=True, capture_output=True, timeout=600)
            (PEER_VENV / ".ready").touch()
        command = [PEER_VENV / "bin/python", "-c", _PEER_CODE]
        printed = subprocess.run(command, check=True, capture_output=True, text=True, timeout=300).stdout
    except (OSError, subprocess.SubprocessError) as failure:
        print(f"{PEER} is left out: {failure}", file=sys.stderr)
        return None
    look_up_s, insert_s, scores = json.loads(printed.strip().splitlines()[-1])
    return Peer(look_up_s, insert_s, {int(worker): blocks for worker, blocks in scores.items()})


def walk(masks: dict[int, int], hashes: tuple[int, ...]) -> list[tuple[int, int]]:
    """The look-up as a plain loop over every block."""
    levels: list[tuple[int, int]] = []
    mask, depth = masks.get(hashes[0], 0), 0
    for depth, hash_ in enumerate(hashes):
        held = masks.get(hash_, 0) & mask
        if held != mask:
            levels.append((depth, mask))
            mask = held
            if not mask:
                return levels
    return [*levels, (depth + 1, mask)]


def look_up_rows(name: str, prefix: tuple[int, ...], holding: list[int], goal: float | None) -> Iterator[Measurement]:
    index = PrefixIndex()
    masks: dict[int, int] = {}
    for worker, held in enumerate(holding):
        index.add(worker, prefix[:held])
        masks |= {hash_: masks.get(hash_, 0) | 1 << worker for hash_ in prefix[:held]}
    assert sorted(walk(masks, prefix)) == sorted(index.match(prefix))
    ours, loop = both_cpu_s(lambda: index.match(prefix), lambda: walk(masks, prefix), 500)
    yield Measurement(f"prefix look-up, {name}", 1e6 * ours, "µs", against="field notes: 11 µs by a walk")
    yield Measurement("  a walk of the same dictionary", loop / ours, "x", goal, "higher", "the same prefix")


def prefix_rows(theirs: Peer | None) -> Iterator[Measurement]:
    yield from look_up_rows(f"{BLOCKS} blocks, 8 workers hold 8 lengths", PREFIX, HELD, None)
    yield from look_up_rows("384 blocks, all hold 64, one holds 380", tuple(range(1, 385)), [64] * 7 + [380], 2.0)
    index = PrefixIndex()
    for worker, held in enumerate(HELD):
        index.add(worker, PREFIX[:held])
    ours = cpu_s(lambda: index.match(PREFIX), 1000)
    fresh = count(10**6, BLOCKS)
    insert = cpu_s(lambda: index.add(0, range(start := next(fresh), start + BLOCKS)), 100) / BLOCKS
    yield Measurement("prefix insert", 1e-6 / insert, "M blocks/s", 2.7, "higher", "96 at once; field notes: 2.7")
    if theirs is not None:
        assert theirs.scores == dict(enumerate(HELD)), "the peer finds the same"
        yield Measurement(
            f"  {PEER} look-up",
            theirs.look_up_s / ours,
            "x",
            1.0,
            "higher",
            "Rust radix tree; its calls cross a thread",
        )
        yield Measurement(f"  {PEER} insert", theirs.insert_s / insert, "x", 1.0, "higher", "96 an event")


def serve(requests: int) -> float:
    """CPU seconds a request: 8/s of 1024/256 on one replica, every run of equal steps in one call."""
    draw = random.Random(1)
    arrivals: list[float] = []
    for _ in range(requests):
        arrivals.append((arrivals[-1] if arrivals else 0.0) + draw.expovariate(8))
    started = time.process_time()
    batcher, now, done, submitted, step_s = Batcher(Limits(), BlockPool(20_000, 16)), 0.0, 0, 0, 0.015
    while done < requests:
        iteration = batcher.plan()
        if iteration.chunks:
            now += step_s + 3e-5 * iteration.tokens
            done += len(batcher.complete(iteration).finished)
        elif iteration.decodes:
            steps = batcher.steady_steps()
            if submitted < requests and now + steps * step_s > arrivals[submitted]:
                steps = max(1, int((arrivals[submitted] - now) / step_s) + 1)
            now += steps * step_s
            done += len(batcher.advance(steps))
        else:
            now = arrivals[submitted]
        while submitted < requests and arrivals[submitted] <= now:
            batcher.submit(Sequence(submitted, 1024, 256, arrivals[submitted]))
            submitted += 1
    return (time.process_time() - started) / requests


def batch_rows() -> Iterator[Measurement]:
    ours = statistics.median(serve(4000) for _ in range(7))
    against = "1024/256, 8/s; goal: the simulator's for everything"
    yield Measurement("batcher, a request from submit to end", 1e6 * ours, "µs", 50.0, against=against)
    yield Measurement(
        "  aisimulate 0.13 (Rust), 9,700/s in field notes", 1 / 9700 / ours, "x", against="its whole simulation"
    )
    pool, fresh = BlockPool(4096, 16), count(0, 64)

    def prompt() -> None:
        hashes = range(start := next(fresh), start + 64)
        table = pool.allocate(1024, hashes)
        assert table is not None
        pool.publish(table, hashes, 1024)
        pool.release(table)

    free = list(range(4096))

    def free_list() -> None:
        taken = [free.pop() for _ in range(64)]
        free.extend(taken)

    blocks_s, list_s = both_cpu_s(prompt, free_list, 300)
    yield Measurement("64 blocks: allocate, publish, evict", 1e6 * blocks_s, "µs", against="full pool, new prefixes")
    yield Measurement("  a bare free list", blocks_s / list_s, "x dearer", against="64 pops, 64 pushes")


def fleet(size: int) -> tuple[Candidates, PrefixIndex]:
    index = PrefixIndex()
    for number in range(size):
        index.add(number, PREFIX[: HELD[number % WORKERS]])
    return Candidates(
        Worker(number, f"w{number}", "zone", 1e-4, 0.01, 1e-4, 10.0, 64, Tally(100 * (number % 7), number % 5))
        for number in range(size)
    ), index


def routing_rows() -> Iterator[Measurement]:
    turn = count(1)
    plain, prefixed = Request(6144, 200), Request(6144, 200, PREFIX, "session")
    for size in (WORKERS, 1000):
        router = Router(*fleet(size), 64, RouterConfig())
        for what, request in (("no prefix", plain), (f"{BLOCKS} blocks, session", prefixed)):

            def route(router: Router = router, request: Request = request) -> object:
                return router.route(request, next(turn) * 0x9E3779B97F4A7C15 & (1 << 64) - 1)

            name = f"route over {size} workers, {what}"
            yield Measurement(name, 1e6 * cpu_s(route, 300), "µs", against="sglang-router's whole request: 119 µs")
    candidates, index = fleet(WORKERS)
    pairs = PairRouter(candidates, candidates, {("zone", "zone"): LinkPath(5e10, 1e-5)}, (index,), 64)
    spent = cpu_s(lambda: pairs.route(prefixed), 100)
    yield Measurement("prefill/decode pair of 8 × 8", 1e6 * spent, "µs", against="one zone, both in one")


def small_rows() -> Iterator[Measurement]:
    tokens = list(range(6144))
    whole = cpu_s(lambda: block_hashes(tokens, 64), 20)
    yield Measurement("hash 6,144 tokens, cold", 1e6 * whole, "µs", against="sha256, blocks of 64")
    session = SessionHashes(64)
    session.extend(tokens)
    turn = cpu_s(lambda: session.extend(tokens[:256]), 100)
    yield Measurement("  256 more of a session", 1e6 * turn, "µs", whole * 1e6, against="hashing it all again")
    queue, heap, number = FairQueue[int](), list[tuple[float, int]](), count()
    for tenant in range(100):
        queue.push(f"t{tenant}", 10.0, 0)
        queue.push(f"t{tenant}", 10.0, 0)
        heappush(heap, (10.0, next(number)))

    def fair() -> None:
        queue.push(queue.pop().tenant, 10.0, 0)

    def bare() -> None:
        heappush(heap, (heappop(heap)[0] + 10.0, next(number)))

    fair_s, bare_s = both_cpu_s(fair, bare, 1000)
    yield Measurement("fair queue: pop and push", 1e6 * fair_s, "µs", against="100 tenants")
    yield Measurement("  a bare heap", fair_s / bare_s, "x dearer", against="one heap, no tenants")
    admission, cache = Admission(Slo("slo", ttft_s=1.0, e2e_s=9.0)), Cache(0.1, 0.5, 0.05, 1.0)
    yield Measurement("admission", 1e6 * cpu_s(lambda: admission.decide(0.5, 4.0), 1000), "µs")
    yield Measurement("retention", 1e6 * cpu_s(lambda: retain(cache, 3.0), 1000), "µs")


if __name__ == "__main__":
    sys.exit(main([*prefix_rows(peer()), *batch_rows(), *routing_rows(), *small_rows()]))
