"""Whatever is lost, doubled or reordered: the router believes of a node only what it once held, and converges."""

from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from weft.core.errors import WireError
from weft.policy.prefix_feed import WINDOW, Announcer, SharedPrefixes, Update, decode, encode

NODES = ("a", "b")
ACTIONS = st.lists(
    st.tuples(
        st.sampled_from(("change", "change", "update", "update", "deliver", "deliver", "lose", "double", "restart")),
        st.integers(0, 1),
        st.integers(0, 7),
    ),
    max_size=80,
)


@dataclass
class _Node:
    """A node, what it held as of each (epoch, number), and what is on its way from it."""

    name: str
    epoch: int = 0
    announcer: Announcer = field(init=False)
    held: set[int] = field(default_factory=set[int])
    history: dict[tuple[int, int], frozenset[int]] = field(default_factory=dict[tuple[int, int], frozenset[int]])
    snapshots: set[frozenset[int]] = field(default_factory=set[frozenset[int]])
    number: int = 0
    way: list[bytes] = field(default_factory=list[bytes])

    def __post_init__(self) -> None:
        self.restart()

    def restart(self) -> None:
        self.epoch += 1
        self.number = 0
        self.held.clear()
        self.announcer = Announcer(self.name, self.epoch)
        self.history[self.epoch, 0] = frozenset()

    def change(self, block: int) -> None:
        if block in self.held:
            self.held.discard(block)
            self.announcer.changed((), (block,))
        else:
            self.held.add(block)
            self.announcer.changed((block,), ())

    def update(self) -> None:
        self.number += 1
        self.history[self.epoch, self.number] = frozenset(self.held)
        self.way.append(encode(self.announcer.update()))

    def act(self, what: str, value: int) -> None:
        match what:
            case "change":
                self.change(value)
            case "restart":
                self.restart()
            case _:
                self.update()


def _deliver(router: SharedPrefixes, node: _Node, value: int, how: str = "deliver") -> None:
    """One of the messages on its way; the answer to it takes the same uncertain way."""
    if not node.way:
        return
    data = node.way[value % len(node.way)] if how == "double" else node.way.pop(value % len(node.way))
    if how != "lose" and router.receive(decode(data)):
        node.snapshots.add(frozenset(node.held))
        node.way.append(encode(node.announcer.snapshot()))


@settings(max_examples=150)
@given(ACTIONS)
def test_only_what_was_true_is_believed_and_all_of_it_in_the_end(actions: list[tuple[str, int, int]]) -> None:
    router, nodes = SharedPrefixes(), [_Node(name) for name in NODES]
    for what, which, value in actions:
        node = nodes[which]
        if what in ("deliver", "lose", "double"):
            _deliver(router, node, value, what)
        else:
            node.act(what, value)
        believed = router.held(node.name)
        assert believed in node.snapshots or believed in node.history.values()
    for node in nodes:
        node.way.clear()  # all that was on its way is lost; from here nothing is
        for _ in range(2):
            node.update()
            while node.way:
                _deliver(router, node, 0)
        assert router.held(node.name) == frozenset(node.held)


def test_a_gap_longer_than_the_window_makes_a_node_hold_nothing_until_its_snapshot() -> None:
    router, announcer = SharedPrefixes(), Announcer("a", 1)
    announcer.changed((1, 2, 3), ())
    assert not router.receive(announcer.update())
    assert router.match((1, 2, 9)) == {"a": 2}
    announcer.update()
    for at in range(WINDOW - 1):
        assert router.receive(announcer.update())
        assert router.match((1, 2)) == {"a": 2}, at
    assert router.receive(announcer.update())
    assert router.match((1, 2)) == {}
    announcer.changed((), (2, 3))
    assert not router.receive(announcer.snapshot())
    assert router.match((1, 2)) == {"a": 1}
    assert not router.receive(announcer.update())


def test_late_messages_of_an_earlier_life_change_nothing() -> None:
    router, earlier, later = SharedPrefixes(), Announcer("a", 1), Announcer("a", 2)
    earlier.changed((1,), ())
    late = earlier.update()
    later.changed((2,), ())
    assert not router.receive(later.update())
    assert not router.receive(late)
    assert not router.receive(earlier.snapshot())
    assert router.held("a") == {2}


def test_nodes_leave_and_their_places_are_taken() -> None:
    router = SharedPrefixes()
    for name in ("a", "b"):
        router.receive(Update(name, 1, 1, (1, 2), ()))
    router.leave("a")
    router.leave("a")
    router.receive(Update("c", 1, 1, (1,), ()))
    assert router.match((1, 2)) == {"b": 2, "c": 1}
    assert router.held("a") == frozenset()


@pytest.mark.parametrize("data", [b"", b"\x93", encode(Update("a", 1, 1, (), ()))[:-1], b"\x95\xa1x\x01\x01\x90\x90"])
def test_malformed_announcements_are_refused(data: bytes) -> None:
    with pytest.raises(WireError, match="same version"):
        decode(data)
