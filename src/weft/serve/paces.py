"""Looks at how fast nodes write while they do, and moves the replies of one that is far behind its pool."""

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import replace
from math import ceil

from weft.core.deployment import Deployment, Pool
from weft.core.errors import NodeDiedError
from weft.core.program import StepKind
from weft.policy.slowness import Look, Slowness, SlownessConfig
from weft.serve.live_node import LiveNode

LOOK_S = 0.25
PASSES = 4.0
"""Of the longest that a pool's device makes: so long a node may say nothing, whatever others of its pool do. A reply
that has just come waits for the pass under way, then for its own."""


class Paces:
    """`members`: who takes work; `leave`: gives a node no new work for a while. Looks only while replies stream."""

    def __init__(
        self,
        deployment: Deployment,
        members: Callable[[], Iterable[LiveNode]],
        leave: Callable[[LiveNode], None],
        config: SlownessConfig | None = None,
    ) -> None:
        self.moved = 0
        self._deployment = deployment
        self._decodes = frozenset(step.name for step in deployment.program.steps if step.kind is StepKind.DECODE)
        self._members = members
        self._leave = leave
        self._config = config or SlownessConfig()
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
            seen = {each: Look(node.said - before[node], node.promised(LOOK_S)) for each, node in members.items()}
            slow = self._slowness(name).look(seen)
            if slow is not None:
                self._move(members[slow], seen[slow].pace)

    def _slowness(self, pool: str) -> Slowness:
        if pool not in self._pools:
            quiet = ceil(PASSES * longest_pass_s(self._deployment, self._deployment.pool(pool)) / LOOK_S)
            self._pools[pool] = Slowness(replace(self._config, looks=max(self._config.looks, quiet)))
        return self._pools[pool]

    def _move(self, node: LiveNode, pace: float) -> None:
        """Its replies go on elsewhere from what was told, as if it had died; it lives."""
        self.moved += 1
        node.slowed(pace)
        self._leave(node)
        problem, way_out = "writes far slower than its pool", "look at what else its machine does"
        node.client.abandon(
            self._decodes, NodeDiedError(subject=f"node {node.client.name!r}", problem=problem, way_out=way_out)
        )


def longest_pass_s(deployment: Deployment, pool: Pool) -> float:
    """Of the planned device: with the longest chunk of a prompt where the pool reads prompts; 0 where no plan knows."""
    if pool.engine is None:
        return 0.0
    pace, kinds = pool.engine.pace, {step.name: step.kind for step in deployment.program.steps}
    reads = any(kinds[route.step] is StepKind.PREFILL for route in deployment.routes if route.pool == pool.name)
    return pace.prompt_at(pool.engine.step_tokens) if reads else pace.decode_at(pool.batch_limit)
