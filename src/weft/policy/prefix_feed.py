"""Nodes tell a router which blocks they hold: numbered updates, and a snapshot where one was lost.

Each node counts its updates from 1 within an epoch (one life of its process; later lives have larger epochs) and sends
one at least every so often, empty if nothing changed: so a loss shows with the next. The router applies updates in
order only: what it believes of a node is what the node held as of one of its updates or snapshots, never a mixture.
Updates after a gap wait, `WINDOW` of them at most, for the missing ones or for a snapshot; then the node counts as
holding nothing until its snapshot comes. So a block that is gone is claimed for `WINDOW` updates at most.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import msgspec

from weft.core.errors import WireError
from weft.policy.prefix_index import PrefixIndex, workers_held

WINDOW = 8
MAX_NODES = 4096


class Update(msgspec.Struct, frozen=True, array_like=True, tag="u"):
    node: str
    epoch: int
    number: int
    added: tuple[int, ...]
    removed: tuple[int, ...]


class Snapshot(msgspec.Struct, frozen=True, array_like=True, tag="s"):
    """All that the node holds, as of its update `number` or later."""

    node: str
    epoch: int
    number: int
    held: tuple[int, ...]


Announcement = Update | Snapshot
_DECODER: "msgspec.msgpack.Decoder[Announcement]" = msgspec.msgpack.Decoder(Update | Snapshot)


def encode(announcement: Announcement) -> bytes:
    return msgspec.msgpack.encode(announcement)


def decode(data: bytes) -> Announcement:
    try:
        return _DECODER.decode(data)
    except msgspec.MsgspecError as error:
        way_out = "nodes and router must be of the same version"
        raise WireError(subject="announcement of blocks", problem=str(error), way_out=way_out) from error


class Announcer:
    """The node's side. `changed` fits weft.runtime.cache.manager's listener, for hashes."""

    def __init__(self, node: str, epoch: int) -> None:
        self._node = node
        self._epoch = epoch
        self._number = 0
        self._held: set[int] = set()
        self._pending: dict[int, bool] = {}

    @property
    def pending(self) -> int:
        return len(self._pending)

    def changed(self, added: Sequence[int], removed: Sequence[int]) -> None:
        self._held.update(added)
        self._held.difference_update(removed)
        self._pending.update(dict.fromkeys(added, True))
        self._pending.update(dict.fromkeys(removed, False))

    def update(self) -> Update:
        """What changed since the last one."""
        self._number += 1
        pending, self._pending = self._pending, {}
        added = tuple(hash_ for hash_, here in pending.items() if here)
        removed = tuple(hash_ for hash_, here in pending.items() if not here)
        return Update(self._node, self._epoch, self._number, added, removed)

    def snapshot(self) -> Snapshot:
        """What has changed since the last update is in the next one too, which does no harm."""
        return Snapshot(self._node, self._epoch, self._number, tuple(self._held))


@dataclass(slots=True)
class _Node:
    name: str
    worker: int
    epoch: int
    number: int = 0
    held: set[int] = field(default_factory=set[int])
    ahead: dict[int, Update] = field(default_factory=dict[int, Update])
    lost: bool = False  # too far behind: holds nothing until a snapshot comes


class SharedPrefixes:
    """The router's side. `on_change` hears of each change of what a node is believed to hold: what came, what went."""

    def __init__(self, on_change: Callable[[str, Sequence[int], Sequence[int]], None] | None = None) -> None:
        self.index = PrefixIndex()
        self._on_change = on_change
        self._nodes: dict[str, _Node] = {}
        self._free: list[int] = []

    def receive(self, announcement: Announcement) -> bool:
        """Whether the node should be asked for a snapshot."""
        node = self._nodes.get(announcement.node) or self._join(announcement)
        if announcement.epoch > node.epoch:
            self._set(node, ())
            node.epoch, node.number, node.lost = announcement.epoch, 0, False
            node.ahead.clear()
        if announcement.epoch == node.epoch and announcement.number >= node.number:
            if isinstance(announcement, Snapshot):
                self._set(node, announcement.held)
                node.number, node.lost = announcement.number, False
            elif announcement.number > node.number:
                node.ahead[announcement.number] = announcement
            self._catch_up(node)
        return node.lost or bool(node.ahead)

    def match(self, hashes: Sequence[int]) -> dict[str, int]:
        """Node → leading blocks of this prefix that it holds, for those that hold any."""
        held = workers_held(self.index.match(hashes))
        return {name: held[node.worker] for name, node in self._nodes.items() if node.worker in held} if held else {}

    def held(self, node: str) -> frozenset[int]:
        """What it is believed to hold."""
        found = self._nodes.get(node)
        return frozenset() if found is None else frozenset(found.held)

    def holds(self, node: str, block: int) -> bool:
        found = self._nodes.get(node)
        return found is not None and block in found.held

    def leave(self, node: str) -> None:
        """It is dead, or no longer ours."""
        gone = self._nodes.pop(node, None)
        if gone is not None:
            self._set(gone, ())
            self._free.append(gone.worker)

    def _join(self, announcement: Announcement) -> _Node:
        if len(self._nodes) >= MAX_NODES:
            problem = f"{announcement.node!r} would be node {MAX_NODES + 1}"
            raise WireError(subject="shared prefixes", problem=problem, way_out="let dead nodes leave, or add a router")
        worker = self._free.pop() if self._free else len(self._nodes)
        node = self._nodes[announcement.node] = _Node(announcement.node, worker, announcement.epoch)
        return node

    def _catch_up(self, node: _Node) -> None:
        for number in [number for number in node.ahead if number <= node.number]:
            del node.ahead[number]
        while not node.lost and (update := node.ahead.pop(node.number + 1, None)) is not None:
            node.number += 1
            fresh = [hash_ for hash_ in update.added if hash_ not in node.held]
            gone = [hash_ for hash_ in update.removed if hash_ in node.held]
            self._change(node, fresh, gone)
        if node.ahead and max(node.ahead) - node.number > WINDOW:
            self._set(node, ())
            node.lost = True
            node.ahead = {number: each for number, each in node.ahead.items() if number > max(node.ahead) - WINDOW}

    def _set(self, node: _Node, held: Sequence[int]) -> None:
        now = set(held)
        self._change(node, list(now - node.held), list(node.held - now))

    def _change(self, node: _Node, came: Sequence[int], went: Sequence[int]) -> None:
        node.held.update(came)
        node.held.difference_update(went)
        self.index.add(node.worker, came)
        self.index.remove(node.worker, went)
        if self._on_change is not None and (came or went):
            self._on_change(node.name, came, went)
