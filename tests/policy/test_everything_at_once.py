"""Long random runs with every feature of batcher, pool and index at once: blocks add up, and nothing is left behind."""

import random
from dataclasses import dataclass, field

import pytest

from weft.policy.batcher import Batcher, Limits
from weft.policy.block_hash import block_hashes
from weft.policy.kv_blocks import BlockPool
from weft.policy.prefix_index import PrefixIndex
from weft.policy.sequence import Sequence, Stage

SIZE, BLOCKS = 4, 200
HERE = (Stage.WAITING, Stage.PREFILLING, Stage.DECODING)


@dataclass
class Life:
    """Shared prefixes, transfers, caches that are kept, clients that leave, runs of steps cut anywhere."""

    draw: random.Random
    index: PrefixIndex = field(default_factory=PrefixIndex)
    live: list[Sequence] = field(default_factory=list[Sequence])
    kept: list[Sequence] = field(default_factory=list[Sequence])

    def __post_init__(self) -> None:
        pool = BlockPool(
            BLOCKS, SIZE, lambda hashes: self.index.add(0, hashes), lambda hashes: self.index.remove(0, hashes)
        )
        self.batcher = Batcher(Limits(8, 64, self.draw.randint(0, 2)), pool)

    def arrive(self, number: int) -> None:
        draw, prompt, output = self.draw, self.draw.randint(1, 200), self.draw.randint(2, 60)
        own = draw.randint(0, prompt)
        text = [draw.randrange(3)] * own + [number] * (prompt - own + output)
        hashes = block_hashes(text, SIZE)[: (prompt + output * draw.randint(0, 1)) // SIZE]
        rank, transferred, keep = draw.random() * number, draw.random() < 0.2, draw.random() < 0.1
        self.live.append(Sequence(number, prompt, output, rank, hashes, transferred, keep))
        self.batcher.submit(self.live[-1])

    def step(self) -> None:
        batcher, draw = self.batcher, self.draw
        iteration = batcher.plan()
        if draw.random() < 0.05 and self.live:
            batcher.stop(self.live.pop(draw.randrange(len(self.live))))
        if iteration.decodes or iteration.chunks:
            steady = batcher.steady_steps()
            finished = batcher.advance(draw.randint(1, steady)) if steady else batcher.complete(iteration).finished
            self.kept += [sequence for sequence in finished if sequence.stage is Stage.KEPT]
        if self.kept and (draw.random() < 0.3 or not batcher.running):
            batcher.release(self.kept.pop(draw.randrange(len(self.kept))))
        self.live = [sequence for sequence in self.live if sequence.stage in HERE]


@pytest.mark.parametrize("seed", range(6))
def test_nothing_is_left_behind(seed: int) -> None:
    life = Life(random.Random(seed))
    batcher, pool = life.batcher, life.batcher.pool
    for number in range(1200):
        if life.draw.random() < 0.3:
            life.arrive(number)
        life.step()
        assert pool.allocated + pool.free + pool.cached == BLOCKS
        assert min(pool.free, pool.cached, batcher.queued_tokens, batcher.context_tokens) >= 0
        assert len(life.index) <= BLOCKS
    for sequence in life.live:
        batcher.stop(sequence)
    for sequence in life.kept:
        batcher.release(sequence)
    assert (pool.allocated, len(life.index)) == (0, pool.cached)
    last = batcher.plan()
    assert (last.decodes, last.context_tokens, last.chunks, last.preempted) == (0, 0, [], [])
    assert (batcher.waiting, batcher.running, batcher.queued_tokens, batcher.context_tokens) == (0, 0, 0, 0)
