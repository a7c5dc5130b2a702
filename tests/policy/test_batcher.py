"""The Batcher decides as the naive one does, at every step; n steps at once are n single steps, in any split."""

from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.effort import cases
from tests.policy.naive_batcher import Naive, NaiveBatcher
from weft.core.errors import CapacityError
from weft.policy.batcher import Batcher, Limits
from weft.policy.kv_blocks import BlockPool
from weft.policy.sequence import Sequence, Stage

SIZE, BLOCKS = 4, 20


@dataclass(frozen=True)
class Arrival:
    step: int
    prompt: int
    output: int
    rank: int
    transferred: bool
    stop_at: int | None


ARRIVALS = st.lists(
    st.builds(
        Arrival,
        step=st.integers(0, 30),
        prompt=st.integers(1, 40),
        output=st.integers(2, 40),
        rank=st.integers(0, 2),
        transferred=st.booleans(),
        stop_at=st.none() | st.integers(0, 40),
    ),
    max_size=12,
)
LIMITS = st.builds(Limits, sequences=st.integers(1, 5), tokens=st.integers(5, 24), headroom=st.integers(0, 2))


def _sequences(arrivals: list[Arrival]) -> list[Sequence]:
    return [
        Sequence(name, each.prompt, each.output, float(each.rank), transferred=each.transferred)
        for name, each in enumerate(arrivals)
    ]


def _stops(arrivals: list[Arrival], step: int, sequences: list[Sequence]) -> Iterator[Sequence]:
    for arrival, sequence in zip(arrivals, sequences, strict=True):
        if arrival.stop_at is not None and step == arrival.step + arrival.stop_at and sequence.stage is not Stage.ENDED:
            yield sequence
            return


@settings(max_examples=cases(150), deadline=None)
@given(ARRIVALS, LIMITS)
def test_every_step_is_as_the_rules_say(arrivals: list[Arrival], limits: Limits) -> None:
    batcher = Batcher(limits, BlockPool(BLOCKS, SIZE))
    oracle = NaiveBatcher(limits.sequences, limits.tokens, limits.headroom, BLOCKS, SIZE)
    sequences = _sequences(arrivals)
    for step in range(1000):
        if step > 30 and not (batcher.waiting or batcher.running):
            break
        for name, each in enumerate(arrivals):
            if each.step == step:
                batcher.submit(sequences[name])
                oracle.submit(Naive(name, each.prompt, each.output, each.rank, sequences[name].order, each.transferred))
        iteration = batcher.plan()
        decodes = [sequence.name for sequence in batcher.decoding]
        stop = next(_stops(arrivals, step, sequences), None)
        if stop is not None:
            batcher.stop(stop)
        busy = iteration.decodes or iteration.chunks
        outcome = batcher.complete(iteration) if busy else None
        decided = (
            decodes,
            [(chunk.sequence.name, chunk.tokens) for chunk in iteration.chunks],
            [sequence.name for sequence in iteration.preempted],
            [sequence.name for sequence in outcome.first] if outcome else [],
            [sequence.name for sequence in outcome.finished] if outcome else [],
        )
        assert decided == oracle.step(None if stop is None else int(str(stop.name)))
        assert batcher.pool.free == oracle.free
        assert batcher.context_tokens == sum(one.stored for one in oracle.decoding)
        assert (batcher.waiting, batcher.running) == (
            len(oracle.waiting),
            len(oracle.decoding) + len(oracle.prefilling),
        )
        assert batcher.queued_tokens == sum(
            one.prompt + one.produced - one.stored for one in oracle.waiting + oracle.prefilling if not one.transferred
        )
    assert batcher.pool.free == BLOCKS, "all ended, all blocks are back"
    assert all(sequence.stage is Stage.ENDED for sequence in sequences)


def _state(batcher: Batcher) -> object:
    return (
        batcher.step,
        batcher.context_tokens,
        batcher.queued_tokens,
        batcher.waiting,
        batcher.pool.free,
        batcher.pool.cached,
        [(sequence.name, batcher.produced(sequence)) for sequence in batcher.decoding],
    )


def _hashes(arrival: Arrival) -> tuple[int, ...]:
    """Prompts of equal rank share their prefix; nothing is known of outputs."""
    return tuple(100 * arrival.rank + index for index in range(arrival.prompt // SIZE))


def _run(arrivals: list[Arrival], limits: Limits, splits: list[int]) -> list[object]:
    """The state at every step on which something was decided, when runs of steps are split by `splits` (cyclic)."""
    batcher = Batcher(limits, BlockPool(BLOCKS, SIZE))
    pending = sorted(enumerate(arrivals), key=lambda each: (each[1].step, each[0]))
    log: list[object] = []
    turn = 0
    for _ in range(4000):
        while pending and pending[0][1].step <= batcher.step:
            name, each = pending.pop(0)
            sequence = Sequence(
                name, each.prompt, each.output, float(each.rank), _hashes(each), transferred=each.transferred
            )
            batcher.submit(sequence)
        iteration = batcher.plan()
        if not iteration.decodes and not iteration.chunks:
            if not pending:
                return log
            pending[0] = (pending[0][0], Arrival(**{**vars(pending[0][1]), "step": batcher.step}))
            continue
        steady = batcher.steady_steps()
        if not steady:
            outcome = batcher.complete(iteration)
            log.append((_state(batcher), [one.name for one in outcome.first], [one.name for one in outcome.finished]))
            continue
        steps = min(steady, splits[turn % len(splits)])
        if pending:
            steps = min(steps, max(1, pending[0][1].step - batcher.step))
        turn += 1
        finished = batcher.advance(steps)
        assert not finished or steps == steady
        if finished:
            log.append((_state(batcher), [], [one.name for one in finished]))
    raise AssertionError("did not end")


@settings(max_examples=cases(150), deadline=None)
@given(ARRIVALS, LIMITS, st.lists(st.integers(1, 50), min_size=1, max_size=5))
def test_any_split_of_steady_steps_gives_the_same_states(
    arrivals: list[Arrival], limits: Limits, splits: list[int]
) -> None:
    single = _run(arrivals, limits, [1])
    assert _run(arrivals, limits, splits) == single
    assert _run(arrivals, limits, [10**9]) == single


def test_a_shared_prefix_is_computed_once() -> None:
    batcher = Batcher(Limits(sequences=4, tokens=64), BlockPool(BLOCKS, SIZE))
    batcher.submit(Sequence("a", 12, 8, hashes=(1, 2, 3)))
    batcher.complete(batcher.plan())
    batcher.submit(Sequence("b", 12, 8, hashes=(1, 2, 4)))
    (chunk,) = batcher.plan().chunks
    assert (chunk.start, chunk.tokens) == (8, 4)


def test_kept_blocks_are_held_until_they_are_released() -> None:
    batcher = Batcher(Limits(), BlockPool(BLOCKS, SIZE))
    sequence = Sequence("a", 12, 1, keep=True)
    batcher.submit(sequence)
    assert batcher.complete(batcher.plan()).finished == [sequence]
    assert batcher.pool.allocated == 3
    batcher.release(sequence)
    assert batcher.pool.allocated == 0


@pytest.mark.parametrize(
    ("prompt", "output", "problem"), [(0, 1, "0 prompt"), (1, 0, "0 output"), (70, 12, "needs 21 KV blocks")]
)
def test_what_can_never_run_is_refused(prompt: int, output: int, problem: str) -> None:
    batcher = Batcher(Limits(), BlockPool(BLOCKS, SIZE))
    with pytest.raises(CapacityError, match=problem):
        batcher.submit(Sequence("x", prompt, output))


def test_limits_that_exclude_all_work_are_refused() -> None:
    with pytest.raises(CapacityError, match="512 sequences, 256 tokens"):
        Limits(sequences=512, tokens=256)
