"""What goes first: against the best that is possible with and without knowing the future, on small enough cases."""

import itertools
import random
from collections.abc import Iterator, Sequence
from functools import cache

import pytest
from hypothesis import given
from hypothesis import strategies as st

from weft.core.errors import CapacityError
from weft.policy.block_value import EvictionOrder, best_prefix

Tree = dict[int, int | None]
Trace = tuple[tuple[int, ...], ...]
"""Prefixes in the order they are asked for."""


def _closed(kept: frozenset[int], tree: Tree) -> bool:
    return all(tree[block] is None or tree[block] in kept for block in kept)


def _paid(held: frozenset[int], prefix: Sequence[int], cost_s: dict[int, float]) -> float:
    return sum(cost_s[block] for block in prefix if block not in held)


def _online(trace: Trace, tree: Tree, cost_s: dict[int, float], room: int, half_life_s: float | None) -> float:
    """Seconds paid; without a half-life by least recent use."""
    order: EvictionOrder[int] = EvictionOrder(half_life_s or 1e-3)
    held, paid_s = set[int](), 0.0
    for now, prefix in enumerate(trace):
        paid_s += _paid(frozenset(held), prefix, cost_s)
        order.use(prefix, now)
        for block in prefix:
            order.add(block, tree[block], "", 1, cost_s[block] if half_life_s else 1.0, now)
            held.add(block)
        while len(held) > room:
            victim = order.victim(now)
            assert victim is not None
            order.remove(victim)
            held.discard(victim)
        assert _closed(frozenset(held), tree)
    return paid_s


def _optimum(trace: Trace, tree: Tree, cost_s: dict[int, float], room: int) -> float:
    """Knowing the future: the least over all that may be kept after each request."""

    @cache
    def least(at: int, held: frozenset[int]) -> float:
        if at == len(trace):
            return 0.0
        there = held | set(trace[at])
        return _paid(held, trace[at], cost_s) + min(least(at + 1, kept) for kept in _keepable(there, tree, room))

    return least(0, frozenset())


def _keepable(there: frozenset[int], tree: Tree, room: int) -> Iterator[frozenset[int]]:
    for count in range(min(room, len(there)) + 1):
        for kept in map(frozenset, itertools.combinations(sorted(there), count)):
            if _closed(kept, tree) and (count == min(room, len(there)) or count == 0 or count < room):
                yield kept


def _case(noise: random.Random) -> tuple[Trace, Tree, dict[int, float]]:
    """Six blocks in a few chains, some asked for much more often than others, costs that differ tenfold."""
    tree: Tree = {}
    for block in range(6):
        tree[block] = noise.choice([None, block - 1]) if block else None
    leaves = [_prefix(block, tree) for block in tree]
    weights = [noise.random() ** 3 for _ in leaves]
    trace = tuple(noise.choices(leaves, weights, k=14))
    return trace, tree, {block: 10 ** noise.uniform(-1, 0) for block in tree}


def _prefix(block: int, tree: Tree) -> tuple[int, ...]:
    parent = tree[block]
    return (block,) if parent is None else (*_prefix(parent, tree), block)


def test_what_is_paid_is_close_to_the_best_in_hindsight_and_below_lru() -> None:
    noise, ours, lru, best = random.Random(1), 0.0, 0.0, 0.0
    for _ in range(60):
        trace, tree, cost_s = _case(noise)
        room = noise.choice((2, 3))
        least = _optimum(trace, tree, cost_s, room)
        found = _online(trace, tree, cost_s, room, 20.0)
        assert found >= least - 1e-9
        ours, lru, best = ours + found, lru + _online(trace, tree, cost_s, room, None), best + least
    assert best <= ours < lru
    assert ours <= 1.5 * best


@given(
    st.lists(st.tuples(st.integers(1, 40), st.floats(0.01, 10), st.integers(1, 100)), min_size=1, max_size=7),
    st.integers(0, 7),
)
def test_of_blocks_asked_for_at_known_rates_the_best_set_is_kept(
    blocks: list[tuple[int, float, int]], room: int
) -> None:
    """With unchained blocks of one size and rates that are known, keeping the most seconds saved is the optimum."""
    order: EvictionOrder[int] = EvictionOrder(1e12)
    for key, (uses, saved_s, _) in enumerate(blocks):
        order.add(key, None, "", 1, saved_s, 0.0)
        for _ in range(uses - 1):
            order.use((key,), 0.0)
    while len(order) > room:
        victim = order.victim(0.0)
        assert victim is not None
        order.remove(victim)
    worth = {key: uses * saved_s for key, (uses, saved_s, _) in enumerate(blocks)}
    best = max(sum(worth[key] for key in kept) for kept in itertools.combinations(worth, min(room, len(worth))))
    assert sum(worth[key] for key in worth if key in order) == pytest.approx(best, rel=1e-6)


@given(st.lists(st.tuples(st.floats(0, 10), st.floats(0, 10)), max_size=12))
def test_a_prefix_is_fetched_as_far_as_that_takes_least(costs: list[tuple[float, float]]) -> None:
    recompute_s, fetch_s = [each[0] for each in costs], [each[1] for each in costs]
    total_s = [sum(fetch_s[:count]) + sum(recompute_s[count:]) for count in range(len(costs) + 1)]
    assert total_s[best_prefix(recompute_s, fetch_s)] == pytest.approx(min(total_s))


OPS = st.lists(
    st.tuples(st.sampled_from(("add", "use", "remove", "pin", "unpin", "reprice")), st.integers(0, 9)), max_size=60
)


@given(OPS)
def test_only_leaves_that_are_not_pinned_go_and_all_of_them_do(ops: list[tuple[str, int]]) -> None:
    order: EvictionOrder[int] = EvictionOrder(5.0)
    held, pinned = dict[int, int | None](), dict[int, float]()
    for now, (what, key) in enumerate(ops):
        match what:
            case "add" if key not in held:
                held[key] = key // 2 if key else None
                order.add(key, held[key], "ab"[key % 2], 1 + key, 1.0, now)
            case "use":
                order.use((key,), now)
            case "remove":
                order.remove(key)
                held.pop(key, None)
                pinned.pop(key, None)
            case "pin":
                order.pin((key,), now + 10.0)
                if key in held:
                    pinned[key] = max(now + 10.0, pinned.get(key, 0.0))
            case "unpin":
                order.unpin((key,))
                pinned.pop(key, None)
            case _:
                order.reprice(key, 1, 2.0)
        free = {key for key in held if key not in held.values() and pinned.get(key, 0.0) <= now}
        for tenant in (None, "a", "b"):
            victim = order.victim(now, tenant)
            allowed = {key for key in free if tenant in (None, "ab"[key % 2])}
            assert (victim in allowed) if allowed else victim is None
    gone = set[int]()
    while (victim := order.victim(1e9)) is not None:
        order.remove(victim)
        gone.add(victim)
    assert gone == set(held)


def test_a_half_life_of_nothing_is_refused() -> None:
    with pytest.raises(CapacityError, match="half-life 0"):
        EvictionOrder(0.0)
