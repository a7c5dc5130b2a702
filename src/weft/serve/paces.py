"""Looks at how fast nodes write while they do, and moves the replies of one that is far behind its pool."""

import asyncio
from collections.abc import Callable, Iterable

from weft.core.errors import NodeDiedError
from weft.policy.slowness import Look, Slowness, SlownessConfig
from weft.serve.live_node import LiveNode

LOOK_S = 0.25


class Paces:
    """`members`: who takes work; `leave`: gives a node no new work for a while. Looks only while replies stream."""

    def __init__(
        self,
        decodes: Iterable[str],
        members: Callable[[], Iterable[LiveNode]],
        leave: Callable[[LiveNode], None],
        config: SlownessConfig | None = None,
    ) -> None:
        self.moved = 0
        self._decodes = frozenset(decodes)
        self._members = members
        self._leave = leave
        self._config = config
        self._pools: dict[str, Slowness] = {}
        self._before: dict[LiveNode, int] = {}
        self._looking: asyncio.TimerHandle | None = None

    def begin(self) -> None:
        """A reply streams from now on."""
        if self._looking is None:
            self._looking = asyncio.get_running_loop().call_later(LOOK_S, self._look)

    def _look(self) -> None:
        before = self._before
        nodes = [node for node in self._members() if node.pool is not None and node.streaming]
        self._before = {node: node.said for node in nodes}
        self._looking = asyncio.get_running_loop().call_later(LOOK_S, self._look) if nodes else None
        pools: dict[str, dict[str, LiveNode]] = {}
        for node in nodes:
            if node in before and node.pool is not None:
                pools.setdefault(node.pool.name, {})[node.client.name] = node
        for name, members in pools.items():
            slowness = self._pools.setdefault(name, Slowness(self._config))
            seen = {each: _look_of(node, before[node]) for each, node in members.items()}
            slow = slowness.look(seen)
            if slow is not None:
                self._move(members[slow], seen[slow].pace)

    def _move(self, node: LiveNode, pace: float) -> None:
        """Its replies go on elsewhere from what was told, as if it had died; it lives."""
        self.moved += 1
        node.slowed(pace)
        self._leave(node)
        problem, way_out = "writes far slower than its pool", "look at what else its machine does"
        node.client.abandon(
            self._decodes, NodeDiedError(subject=f"node {node.client.name!r}", problem=problem, way_out=way_out)
        )


def _look_of(node: LiveNode, before: int) -> Look:
    speed, under_way = node.speed, max(node.tally.running, node.streaming)
    step_s = speed.s_per_step + speed.s_per_sequence * under_way
    return Look(node.said - before, node.streaming * LOOK_S / step_s)
