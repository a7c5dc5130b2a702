"""The index says what the pools that feed it hold; galloping look-ups are those of a walk over every block."""

from collections.abc import Sequence

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.effort import cases
from weft.policy.block_hash import SessionHashes, block_hashes
from weft.policy.kv_blocks import BlockPool
from weft.policy.prefix_index import AssumedCache, PrefixIndex, blocks_held

WORKERS, BLOCKS = 3, 12

TOKENS = st.lists(st.integers(0, 1), max_size=10)
REQUESTS = st.lists(st.tuples(st.integers(0, WORKERS - 1), TOKENS), max_size=25)


def _walk(held: dict[int, set[int]], hashes: Sequence[int], worker: int) -> int:
    return next((index for index, hash_ in enumerate(hashes) if hash_ not in held[worker]), len(hashes))


@settings(max_examples=cases(100), deadline=None)
@given(REQUESTS, TOKENS)
def test_look_ups_say_what_each_pool_holds(requests: list[tuple[int, list[int]]], probe: list[int]) -> None:
    index = PrefixIndex()
    held: dict[int, set[int]] = {worker: set() for worker in range(WORKERS)}
    pools: list[BlockPool] = []
    for worker in range(WORKERS):

        def published(hashes: Sequence[int], worker: int = worker) -> None:
            index.add(worker, hashes)
            held[worker].update(hashes)

        def evicted(hashes: Sequence[int], worker: int = worker) -> None:
            index.remove(worker, hashes)
            held[worker].difference_update(hashes)

        pools.append(BlockPool(BLOCKS, 1, published, evicted))
    for worker, tokens in requests:
        hashes = block_hashes(tokens, 1)
        table = pools[worker].allocate(len(tokens), hashes)
        assert table is not None
        pools[worker].publish(table, hashes, len(tokens))
        pools[worker].release(table)
    hashes = block_hashes(probe, 1)
    levels = index.match(hashes)
    assert [blocks_held(levels, worker) for worker in range(WORKERS)] == [
        _walk(held, hashes, worker) for worker in range(WORKERS)
    ]
    assert levels == sorted(levels, reverse=True)
    index.remove_worker(1)
    held[1].clear()
    assert [blocks_held(index.match(hashes), worker) for worker in range(WORKERS)] == [
        _walk(held, hashes, worker) for worker in range(WORKERS)
    ]
    assert len(index) == len(set().union(*held.values()))


@given(st.lists(TOKENS, max_size=20))
def test_an_assumed_cache_holds_the_last_blocks_sent(sent: list[list[int]]) -> None:
    index = PrefixIndex()
    cache = AssumedCache(index, 0, BLOCKS)
    recent: list[int] = []
    for tokens in sent:
        hashes = block_hashes(tokens, 1)
        cache.touch(hashes)
        recent = [hash_ for hash_ in recent if hash_ not in hashes] + list(reversed(hashes))
        recent = recent[-BLOCKS:]
        assert len(index) == len(recent)
        assert blocks_held(index.match(hashes), 0) == len(hashes)


@given(st.lists(st.lists(st.integers(0, 50_000), max_size=40), max_size=6), st.integers(1, 9))
def test_hashing_a_session_piece_by_piece_is_hashing_it_whole(pieces: list[list[int]], block_size: int) -> None:
    session = SessionHashes(block_size)
    for piece in pieces:
        session.extend(piece)
    whole = [token for piece in pieces for token in piece]
    assert tuple(session.hashes) == block_hashes(whole, block_size)
    assert session.tokens == len(whole)


def test_a_hash_stands_for_the_whole_prefix_and_its_tenant() -> None:
    assert block_hashes([1, 2, 3, 4], 2)[1] != block_hashes([9, 2, 3, 4], 2)[1]
    assert block_hashes([1, 2], 2, "a") != block_hashes([1, 2], 2, "b")
