"""Block accounting under any sequence of operations, against a model that knows what every table should hold."""

from collections.abc import Sequence

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, multiple, rule

from tests.effort import cases
from weft.core.errors import CapacityError
from weft.policy.kv_blocks import BlockPool, Table
from weft.policy.segments import Segment

SIZE, BLOCKS = 4, 24


def _chain(tokens: tuple[int, ...]) -> tuple[int, ...]:
    """A hash for each full block that stands for all tokens up to its end; collisions cannot happen."""
    return tuple(
        sum((token + 1) * 3**place for place, token in enumerate(tokens[:end]))
        for end in range(SIZE, len(tokens) + 1, SIZE)
    )


class Blocks(RuleBasedStateMachine):
    """Tokens are 0 or 1, so prefixes meet often. `content` is what a device would hold in each block."""

    tables = Bundle("tables")
    pins = Bundle("pins")

    def __init__(self) -> None:
        super().__init__()
        self.known: set[int] = set()
        self.pool = BlockPool(BLOCKS, SIZE, self.known.update, self._evicted)
        self.names: dict[Table, tuple[int, ...]] = {}  # the published hashes that a table holds
        self.idle: list[int] = []  # hashes that nobody holds, least recently used first
        self.touched: tuple[int, ...] = ()
        self.pinned: list[list[int]] = []  # what is left of each pin
        self.text: dict[Table, tuple[int, ...]] = {}
        self.content: dict[int, tuple[int, ...]] = {}
        self.reserved = 0

    def _evicted(self, hashes: Sequence[int]) -> None:
        kept = {hash_ for pin in self.pinned for hash_ in pin}
        last = sorted(self.idle, key=lambda hash_: hash_ in kept)
        oldest = [hash_ for hash_ in last if hash_ not in self.touched][: len(hashes)]
        assert list(hashes) == oldest or sorted(hashes) == sorted(oldest)
        self.idle = [hash_ for hash_ in self.idle if hash_ not in hashes]
        self.known.difference_update(hashes)
        for pin in self.pinned:
            pin[:] = [hash_ for hash_ in pin if hash_ not in hashes]

    def _held(self, table: Table, hashes: tuple[int, ...]) -> None:
        self.names[table] = hashes
        self.idle = [hash_ for hash_ in self.idle if hash_ not in hashes]

    @rule(target=tables, text=st.lists(st.integers(0, 1), min_size=1, max_size=30), spare=st.integers(0, 4))
    def allocate(self, text: list[int], spare: int) -> object:
        tokens, before = tuple(text), self.pool.available
        hashes = _chain(tokens)
        linear = next((i for i, hash_ in enumerate(hashes) if hash_ not in self.known), len(hashes))
        assert self.pool.match(hashes) == linear
        self.touched = hashes[: min(linear, (len(tokens) - 1) // SIZE)]
        table = self.pool.allocate(len(tokens), hashes, spare)
        if table is None:
            assert self.pool.available == before
            assert before < -(-len(tokens) // SIZE) + spare
            return multiple()
        assert table.hits == min(linear, (len(tokens) - 1) // SIZE)
        self._held(table, self.touched)
        self.touched = ()
        assert self.pool.available >= spare
        for index, block in enumerate(table.ids):
            expected = tokens[index * SIZE : (index + 1) * SIZE]
            if index < table.hits:
                assert self.content[block] == expected, "a shared block holds other tokens"
            self.content[block] = expected
        self.text[table] = tokens
        return table

    @rule(table=tables, more=st.lists(st.integers(0, 1), min_size=1, max_size=6))
    def extend(self, table: Table, more: list[int]) -> None:
        text = self.text[table] + tuple(more)
        before = (list(table.ids), self.pool.available)
        copies = self.pool.extend(table, len(text))
        if copies is None:
            assert (table.ids, self.pool.available) == before
            return
        for source, target in copies:
            self.content[target] = self.content[source]
        self.text[table] = text
        for index in range(len(text) // SIZE + 1):
            if index < len(table.ids):
                self.content[table.ids[index]] = text[index * SIZE : (index + 1) * SIZE]

    @rule(table=tables, share=st.floats(0, 1))
    def publish(self, table: Table, share: float) -> None:
        text = self.text[table]
        hashes = _chain(text)[: int(share * len(text)) // SIZE]
        self.pool.publish(table, _chain(text), int(share * len(text)))
        if len(hashes) > len(self.names[table]) and not table.sealed:
            self._held(table, hashes)

    @rule(target=tables, table=tables)
    def fork(self, table: Table) -> Table:
        twin = self.pool.fork(table)
        self.text[twin] = self.text[table]
        self.names[twin] = self.names[table]
        return twin

    @rule(table=consumes(tables))
    def release(self, table: Table) -> None:
        self.pool.release(table)
        del self.text[table]
        mine = self.names.pop(table)
        others = {hash_ for names in self.names.values() for hash_ in names}
        self.idle += [hash_ for hash_ in reversed(mine) if hash_ not in others]

    @rule(target=pins, text=st.lists(st.integers(0, 1), min_size=SIZE, max_size=30))
    def pin(self, text: list[int]) -> object:
        hashes = _chain(tuple(text))
        known = list(hashes[: self.pool.match(hashes)])
        leaf = self.pool.pin(hashes)
        assert (leaf is None) == (not known)
        self.pinned.append(known)
        self._let_go(known)
        return leaf, known

    @rule(pin=consumes(pins))
    def unpin(self, pin: tuple[Segment | None, list[int]]) -> None:
        leaf, left = pin
        self.pool.unpin(leaf)
        self.pinned = [each for each in self.pinned if each is not left]
        self._let_go(left)

    def _let_go(self, hashes: list[int]) -> None:
        again = [hash_ for hash_ in reversed(hashes) if hash_ in self.idle]
        self.idle = [hash_ for hash_ in self.idle if hash_ not in again] + again

    @rule(count=st.integers(0, 3))
    def reserve(self, count: int) -> None:
        if count <= self.pool.available:
            self.pool.reserve(count)
            self.reserved += count

    @rule(target=tables)
    def claim(self) -> Table:
        """A new sequence takes all that was reserved."""
        table = Table()
        self.pool.claim(table, self.reserved * SIZE)
        self.text[table] = (2,) * (self.reserved * SIZE)
        self.names[table] = ()
        self.content.update(dict.fromkeys(table.ids, (2,) * SIZE))
        self.reserved = 0
        return table

    @invariant()
    def blocks_add_up(self) -> None:
        held = {block for table in self.text for block in table.ids}
        assert self.pool.allocated == len(held) + self.reserved
        assert self.pool.allocated + self.pool.free + self.pool.cached == BLOCKS
        assert min(self.pool.free, self.pool.cached) >= 0

    @invariant()
    def what_is_known_is_where_it_should_be(self) -> None:
        assert self.known == set(self.idle) | {hash_ for names in self.names.values() for hash_ in names}
        assert self.pool.cached == len(self.idle)

    @invariant()
    def tables_hold_their_text(self) -> None:
        for table, text in self.text.items():
            assert len(table.ids) == -(-len(text) // SIZE)
            for index, block in enumerate(table.ids):
                assert self.content[block] == text[index * SIZE : (index + 1) * SIZE]


Blocks.TestCase.settings = settings(max_examples=cases(60), stateful_step_count=40, deadline=None)
TestBlocks = Blocks.TestCase


def test_what_a_fork_shares_before_it_is_published_stays_unknown() -> None:
    pool = BlockPool(4, 1)
    table = pool.allocate(2)
    assert table is not None
    twin = pool.fork(table)
    pool.publish(table, (1, 2), 2)
    pool.release(table)
    pool.release(twin)
    assert (pool.free, pool.cached, pool.match((1, 2))) == (4, 0, 0), "shared before it was published"


def test_hashes_that_are_not_chained_are_refused() -> None:
    pool = BlockPool(8, 1)
    for hashes in ((1, 2), (1, 3), (7, 3)):
        table = pool.allocate(3, hashes)
        assert table is not None
        if hashes == (7, 3):
            pool.publish(table, hashes, 1)
            with pytest.raises(CapacityError, match="chain the hashes"):
                pool.publish(table, hashes, 2)
        else:
            pool.publish(table, hashes, 2)


def test_the_end_of_the_oldest_prefix_goes_first() -> None:
    evicted: list[int] = []
    pool = BlockPool(6, 1, on_evicted=evicted.extend)
    for hashes in ((1, 2, 3), (1, 2, 4)):
        table = pool.allocate(3, hashes)
        assert table is not None
        pool.publish(table, hashes, 3)
        pool.release(table)
    assert (pool.free, pool.cached) == (2, 4)
    pool.allocate(4)
    assert evicted == [3, 4]
    assert pool.match((1, 2, 3)) == 2
