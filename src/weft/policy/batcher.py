"""Continuous batching on one replica: which sequences decode, which prompts are prefilled, in what chunks.

    batcher.submit(sequence)
    iteration = batcher.plan()            # run it on a device, or ask the cost model how long it takes
    outcome = batcher.complete(iteration)

Rules. Every decoding sequence gets one token an iteration; what is left of `Limits.tokens` goes to prompts, in chunks,
in order of rank. A prompt is admitted whole: its blocks are taken at once, and `Limits.headroom` blocks must be left
for each running sequence. The first in rank is never overtaken by one that fits (no starvation). Where a decoding batch
needs blocks that are not there, the running sequence of the highest rank loses its cache and waits again (recompute);
nobody is admitted in such an iteration.

Long runs of equal iterations are one call. After a plan without chunks, `steady_steps()` says how many iterations are
alike: decode only, same sequences, the last one may finish some. `advance(n)` in place of `complete` does n of them, in
exactly the state that n single ones leave. Whoever submits or stops a sequence in between first advances by the
iterations that are over and plans the one under way. No work here is per token or per sequence and step:

- `step` counts iterations; a sequence is stored as of the step it joined, and a heap holds the steps in which they end;
- a sequence that joined at step j with c tokens takes a new block at every step s with (s - j + c) mod block_size = 0,
  so `_borders[(j - c) mod block_size]` counts who does, and any block_size steps in a row take a block a sequence.
"""

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from heapq import heappop, heappush
from itertools import chain

from weft.core.errors import CapacityError
from weft.policy.kv_blocks import BlockPool, Table
from weft.policy.sequence import Chunk, Iteration, Outcome, Sequence, Stage

_WAITING, _PREFILLING, _DECODING, _KEPT, _ENDED = (
    Stage.WAITING,
    Stage.PREFILLING,
    Stage.DECODING,
    Stage.KEPT,
    Stage.ENDED,
)


@dataclass(frozen=True, slots=True)
class Limits:
    """`sequences` run at once; an iteration works on `tokens` at most; a prompt is admitted when `headroom` blocks
    are left for each running sequence."""

    sequences: int = 256
    tokens: int = 8192
    headroom: int = 1

    def __post_init__(self) -> None:
        if not 1 <= self.sequences <= self.tokens or self.headroom < 0:
            raise CapacityError(
                subject="batch limits",
                problem=f"{self.sequences} sequences, {self.tokens} tokens an iteration, headroom {self.headroom}",
                way_out="take 1 ≤ sequences ≤ tokens (each running sequence takes a token) and headroom ≥ 0",
            )


class Batcher:
    __slots__ = (
        "_block_size",
        "_borders",
        "_context",
        "_decoding",
        "_disturbed",
        "_finishes",
        "_lent",
        "_planned",
        "_prefilling",
        "_queue",
        "_submitted",
        "limits",
        "pool",
        "queued_tokens",
        "running",
        "step",
        "waiting",
    )

    def __init__(self, limits: Limits, pool: BlockPool) -> None:
        self.limits = limits
        self.pool = pool
        self.step = 0
        self.waiting = 0
        self.running = 0
        self.queued_tokens = 0  # prompt tokens still to be computed, of waiting and prefilling sequences
        self._queue: list[tuple[float | tuple[float, ...], int, Sequence]] = []
        self._prefilling: deque[Sequence] = deque()
        self._decoding: dict[Sequence, None] = {}
        self._context = 0
        self._block_size = pool.block_size
        self._borders = [0] * pool.block_size
        self._lent: dict[Sequence, bool] = {}
        self._finishes: list[tuple[int, int, Sequence]] = []
        self._planned: Iteration | None = None
        self._disturbed = False  # something came or went since the last plan
        self._submitted = 0

    @property
    def decoding(self) -> Iterable[Sequence]:
        """Who gets a token in the planned iteration, in order of joining (a live view)."""
        return self._decoding.keys()

    @property
    def context_tokens(self) -> int:
        """Tokens in the caches of the decoding sequences."""
        return self._context

    def produced(self, sequence: Sequence) -> int:
        """Tokens that are out so far."""
        return sequence.produced + (self.step - sequence.joined if sequence.stage is _DECODING else 0)

    def submit(self, sequence: Sequence) -> None:
        """Takes a sequence in. Refuses what could never fit, however empty the replica."""
        _check(sequence, self.pool)
        self._submitted += 1
        sequence.order = self._submitted
        sequence.produced = int(sequence.transferred)
        self._disturbed = True
        self._enqueue(sequence)

    def plan(self) -> Iteration:
        """The next iteration; it has neither decodes nor chunks when there is nothing to do (or nothing fits)."""
        assert self._planned is None, "complete the iteration under way first"
        self._disturbed = False
        preempted: list[Sequence] = []
        borders = self._borders[self.step % self._block_size]
        if borders:
            if borders > self.pool.available:
                preempted = self._preempt()
            else:
                self.pool.reserve(borders)
        chunks: list[Chunk] = []
        if self.waiting or self._prefilling:
            budget = self._continue_prompts(chunks)
            if self.waiting and not preempted:
                self._admit(chunks, budget)
        decodes = len(self._decoding)
        iteration = Iteration(decodes, self._context, chunks, preempted)
        if decodes or chunks:
            self._planned = iteration
        return iteration

    def complete(self, iteration: Iteration) -> Outcome:
        """The planned iteration is over."""
        assert iteration is self._planned, "complete the iteration that was planned last"
        finished = self._tick(1)
        first: list[Sequence] = []
        for chunk in iteration.chunks:
            sequence = chunk.sequence
            if sequence.stage is _PREFILLING:  # not stopped meanwhile
                sequence.stored = chunk.start + chunk.tokens
                self.queued_tokens -= chunk.tokens
                if sequence.stored == sequence.prompt + sequence.produced:
                    self._prompt_done(sequence, first, finished)
        return Outcome(first, finished)

    def steady_steps(self) -> int:
        """How many iterations from the planned one on are alike; 0 when it has chunks or nothing is planned."""
        planned = self._planned
        if planned is None or planned.chunks or not planned.decodes:
            return 0
        if self._disturbed or planned.preempted:
            return 1  # the next plan may admit somebody
        steps = self._next_finish() - self.step
        spare, running, size = self.pool.available, planned.decodes, self._block_size
        if -((1 - steps) // size) * running <= spare:
            return steps
        rounds, rest = divmod(spare, running)
        within = rounds * size
        while within < steps - 1:
            rest -= self._borders[(self.step + 1 + within) % size]
            if rest < 0:
                break
            within += 1
        return min(steps, within + 1)

    def advance(self, steps: int) -> list[Sequence]:
        """Does `steps` ≤ `steady_steps()` iterations; returns the sequences that finished in the last of them."""
        planned = self._planned
        assert planned is not None and not planned.chunks, "plan an iteration without chunks first"
        last = self.step + steps
        assert steps >= 1 and (last <= self._finishes[0][0] or last <= self._next_finish()), f"{steps} are not alike"
        if steps > 1:
            demand = self._demand(self.step + 1, steps - 1)
            if demand:
                self.pool.reserve(demand)
        return self._tick(steps)

    def settle(self, steps: int) -> None:
        """Throws out of the cache now what `steps` of the equal iterations under way will have thrown out by `advance`,
        for whoever looks into it in between."""
        if steps:
            self.pool.make_room(self._demand(self.step + 1, steps))

    def stop(self, sequence: Sequence) -> None:
        """Ends a sequence early: its client left, or its last token is out. Allowed while an iteration is under way."""
        self._withdraw(sequence)
        self._disturbed = True
        sequence.stage = _ENDED

    def release(self, sequence: Sequence) -> None:
        """Lets go of the blocks of a finished sequence with `keep`."""
        assert sequence.stage is _KEPT, f"{sequence.name}: holds no kept blocks"
        self._lent.pop(sequence, None)
        self.pool.release(sequence.table)
        self._disturbed = True
        sequence.stage = _ENDED

    def lend(self, sequence: Sequence, yields: bool) -> None:
        """A finished sequence with `keep` holds its blocks until somebody finds none (`yields`), or until a prompt does
        while nobody runs. The first lent go first (lent again: the last); `sequence.stage` tells."""
        assert sequence.stage is _KEPT, f"{sequence.name}: holds no kept blocks"
        self._lent.pop(sequence, None)
        self._lent[sequence] = yields
        self._disturbed = True

    def hold(self, sequence: Sequence) -> None:
        """Takes back what was lent and is still there."""
        assert sequence.stage is _KEPT, f"{sequence.name}: holds no kept blocks"
        self._lent.pop(sequence, None)

    def seat(self, sequence: Sequence) -> bool:
        """Blocks for a prompt that is computed elsewhere, as if it had been here and were kept; False: none left."""
        assert sequence.stage is Stage.NEW, f"{sequence.name}: is or was in a batcher"
        table = self.pool.allocate(sequence.prompt, spare=self.limits.headroom * self.running)
        if table is None:
            return False
        sequence.table, sequence.stage, sequence.stored = table, _KEPT, sequence.prompt
        return True

    def _table(self, sequence: Sequence, tokens: int, spare: int) -> Table | None:
        """The blocks of the sequence that it continues, or new ones."""
        pool, source = self.pool, sequence.continues
        if source is None or source.stage is not _KEPT:
            sequence.continues = None
            return pool.allocate(tokens, sequence.hashes, spare)
        fresh = max(0, pool.blocks_for(tokens) - source.table.published - len(source.table.own))
        if fresh + spare > pool.available or pool.extend(source.table, tokens) is None:
            return None
        self._lent.pop(source, None)
        source.stage = _ENDED
        return source.table

    def _take_back(self, nobody_runs: bool) -> bool:
        """Blocks that are lent, if there are any to be had."""
        found = next((each for each, yields in self._lent.items() if yields or nobody_runs), None)
        if found is not None:
            self.release(found)
        return found is not None

    def _enqueue(self, sequence: Sequence) -> None:
        sequence.stage = _WAITING
        self.waiting += 1
        if not sequence.transferred:
            self.queued_tokens += sequence.prompt + sequence.produced
        heappush(self._queue, (sequence.rank, sequence.order, sequence))

    def _preempt(self) -> list[Sequence]:
        """Takes blocks from the running sequences of the highest rank until this iteration's decodes have theirs."""
        preempted: list[Sequence] = []
        pool, borders, border = self.pool, self._borders, self.step % self.pool.block_size
        while borders[border] > pool.available:
            if self._lent and self._take_back(self.running == 1):
                continue
            victim = max(chain(self._decoding, self._prefilling), key=_rank)
            self._withdraw(victim)
            victim.transferred = False
            victim.loaded = 0
            victim.stored = 0
            victim.preemptions += 1
            self._enqueue(victim)
            preempted.append(victim)
        pool.reserve(borders[border])
        return preempted

    def _continue_prompts(self, chunks: list[Chunk]) -> int:
        budget = self.limits.tokens - len(self._decoding)
        for sequence in self._prefilling:
            tokens = min(budget, sequence.to_compute - sequence.stored)
            if tokens <= 0:
                break
            chunks.append(Chunk(sequence, sequence.stored, tokens))
            budget -= tokens
        return budget

    def _admit(self, chunks: list[Chunk], budget: int) -> None:
        """Prompts from the queue, in order of rank, while tokens, places and blocks last."""
        limits, pool, queue = self.limits, self.pool, self._queue
        while budget > 0 and queue and self.running < limits.sequences:
            sequence = queue[0][2]
            if sequence.stage is not _WAITING:
                heappop(queue)  # it was stopped
                continue
            target = sequence.prompt if sequence.transferred else sequence.prompt + sequence.produced
            table = self._table(sequence, target + sequence.transferred, limits.headroom * self.running)
            if table is None:
                if self._lent and self._take_back(self.running == 0):
                    continue
                return
            heappop(queue)
            self.waiting -= 1
            self.running += 1
            sequence.table = table
            if sequence.transferred:
                sequence.stored, tokens = target, 1
                pool.publish(table, sequence.hashes, target)
                self._join(sequence)
            else:
                sequence.stage = _PREFILLING
                hits = max(table.hits * pool.block_size, min(sequence.loaded, target - 1))
                sequence.stored = sequence.hits = hits
                self.queued_tokens -= hits
                self._prefilling.append(sequence)
                tokens = min(budget, target - hits)
                chunks.append(Chunk(sequence, hits, tokens))
            budget -= tokens

    def _tick(self, steps: int) -> list[Sequence]:
        self._planned = None
        step = self.step + steps
        self.step = step
        self._context += steps * len(self._decoding)
        finished: list[Sequence] = []
        finishes = self._finishes
        while finishes and finishes[0][0] <= step:
            finish, _, sequence = heappop(finishes)
            if sequence.stage is _DECODING and sequence.finish == finish:
                self._leave(sequence)
                self._end(sequence)
                finished.append(sequence)
        return finished

    def _prompt_done(self, sequence: Sequence, first: list[Sequence], finished: list[Sequence]) -> None:
        """Its next token is out; it decodes from the next iteration on."""
        self._prefilling.remove(sequence)
        if sequence.hashes:
            self.pool.publish(sequence.table, sequence.hashes, sequence.stored)
        sequence.produced += 1
        if sequence.produced == 1:
            first.append(sequence)
        if sequence.produced == sequence.output:
            self._end(sequence)
            finished.append(sequence)
        else:
            self._join(sequence)

    def _join(self, sequence: Sequence) -> None:
        step, stored = self.step, sequence.stored
        sequence.stage = _DECODING
        sequence.joined = step
        sequence.finish = finish = step + sequence.output - sequence.produced
        self._decoding[sequence] = None
        self._context += stored
        self._borders[(step - stored) % self._block_size] += 1
        heappush(self._finishes, (finish, sequence.order, sequence))

    def _leave(self, sequence: Sequence) -> None:
        """Out of the decoding batch, with the tokens and blocks it has by now."""
        joined, stored = sequence.joined, sequence.stored
        self._borders[(joined - stored) % self._block_size] -= 1
        steps = self.step - joined
        sequence.stored = stored = stored + steps
        sequence.produced += steps
        self._context -= stored
        del self._decoding[sequence]
        # an iteration under way has a block for the token it writes
        self.pool.claim(sequence.table, stored if self._planned is None else stored + 1)

    def _withdraw(self, sequence: Sequence) -> None:
        if sequence.stage is _WAITING:
            self.waiting -= 1
            self.queued_tokens -= 0 if sequence.transferred else sequence.to_compute
            return
        self.running -= 1
        if sequence.stage is _DECODING:
            self._leave(sequence)
        else:
            assert sequence.stage is _PREFILLING, f"{sequence.name}: is not here"
            self._prefilling.remove(sequence)
            self.queued_tokens -= sequence.to_compute - sequence.stored
        self._give_back(sequence)

    def _end(self, sequence: Sequence) -> None:
        self.running -= 1
        if sequence.keep:
            self.pool.publish(sequence.table, sequence.hashes, sequence.stored)
            sequence.stage = _KEPT
        else:
            self._give_back(sequence)
            sequence.stage = _ENDED

    def _give_back(self, sequence: Sequence) -> None:
        if sequence.hashes:
            self.pool.publish(sequence.table, sequence.hashes, sequence.stored)
        self.pool.release(sequence.table)

    def _next_finish(self) -> int:
        finishes = self._finishes
        while finishes[0][2].stage is not _DECODING or finishes[0][2].finish != finishes[0][0]:
            heappop(finishes)
        return finishes[0][0]

    def _demand(self, start: int, steps: int) -> int:
        """Blocks that the decoding sequences take in `steps` iterations from step `start` on."""
        size, borders = self._block_size, self._borders
        blocks = steps // size * len(self._decoding)
        first = start % size
        last = first + steps % size
        if last > size:
            return blocks + sum(borders[first:]) + sum(borders[: last - size])
        return blocks + sum(borders[first:last])


def _rank(sequence: Sequence) -> tuple[float | tuple[float, ...], int]:
    return sequence.rank, sequence.order


def _check(sequence: Sequence, pool: BlockPool) -> None:
    assert sequence.stage is Stage.NEW, f"{sequence.name}: is or was in a batcher"
    if sequence.prompt < 1 or sequence.output < 1 + sequence.transferred:
        raise CapacityError(
            subject=f"sequence {sequence.name!r}",
            problem=f"{sequence.prompt} prompt tokens and {sequence.output} output tokens",
            way_out="give at least 1 of each, and 2 of output where the first comes with a transferred prompt",
        )
    if sequence.prompt + sequence.output - 1 > pool.blocks * pool.block_size:
        needed = pool.blocks_for(sequence.prompt + sequence.output - 1)
        raise CapacityError(
            subject=f"sequence {sequence.name!r}",
            problem=f"needs {needed} KV blocks of {pool.block_size} tokens, the replica has {pool.blocks}",
            way_out="send it to a replica with more memory, or shorten it",
        )
