"""Asks nodes that have work and say nothing, and gives what they are at to others while they do not answer.

A node that hangs is found so in tenths of a second, and whoever was wrong about it has lost little: it lives, and takes
work again once it answers. That it is dead is for its supervisor to say, who waits longer.
"""

import asyncio
from collections.abc import Callable, Iterable, Set

from weft.core.errors import NodeDiedError, RunError
from weft.policy.silence import USUAL
from weft.serve.live_node import LiveNode

LOOK_S = 0.05
PEERS = 3
"""Other nodes of its pool that are asked where it does not answer at once."""

Ping = asyncio.Task[None]


class Silence:
    """`members`: who takes work; `suspend`: gives a node none. `steps`: what may run again elsewhere. Looks only while
    something is under way."""

    def __init__(
        self, members: Callable[[], Iterable[LiveNode]], suspend: Callable[[LiveNode], None], steps: Set[str]
    ) -> None:
        self.left = 0
        self._members = members
        self._suspend = suspend
        self._steps = steps
        self._since_s: dict[LiveNode, float] = {}
        self._asking: dict[LiveNode, asyncio.Task[None]] = {}
        self._looking: asyncio.TimerHandle | None = None

    def begin(self) -> None:
        """Something is under way from now on."""
        if self._looking is None:
            self._looking = asyncio.get_running_loop().call_later(LOOK_S, self._look)

    def _look(self) -> None:
        loop, before = asyncio.get_running_loop(), self._since_s
        now_s = loop.time()
        self._since_s = {node: before.get(node, now_s) for node in self._members() if node.under_way}
        self._looking = loop.call_later(LOOK_S, self._look) if self._since_s else None
        for node, since_s in self._since_s.items():
            if node not in self._asking and now_s - max(since_s, node.client.heard_s) >= USUAL.quiet_s:
                self._asking[node] = task = loop.create_task(self._ask(node))
                task.add_done_callback(lambda _, node=node: self._asking.pop(node))

    async def _ask(self, node: LiveNode) -> None:
        """Until it answers or is dead."""
        loop = asyncio.get_running_loop()
        asked_s = loop.time()
        asking = [own := asyncio.create_task(node.client.ping())]
        try:
            if not (await asyncio.wait(asking, timeout=LOOK_S))[0]:
                asking += (asyncio.create_task(each.client.ping()) for each in self._peers(node))
                await self._compared(node, asking)
            await own
            node.patience.answered(loop.time() - asked_s)
            if node.silent:
                node.silent = False
                node.circuit.succeeded()
        except RunError:
            pass  # it is dead
        finally:
            for each in asking:
                each.cancel()

    async def _compared(self, node: LiveNode, asking: list[Ping]) -> None:
        """Leaves it where others answer, and it does not by far. The first of `asking` is its own answer."""
        loop, (own, *others) = asyncio.get_running_loop(), asking
        asked_s = loop.time()
        if await _another_answers(own, others):
            best_s = loop.time() - asked_s
            await asyncio.wait((own,), timeout=node.patience.patience_s(best_s) - best_s)
            if not own.done():
                self._leave(node)

    def _peers(self, node: LiveNode) -> list[LiveNode]:
        """Those that were heard last."""
        others = [each for each in self._members() if each.pool is node.pool and each is not node and not each.silent]
        return sorted(others, key=lambda each: -each.client.heard_s)[:PEERS]

    def _leave(self, node: LiveNode) -> None:
        """What it is at goes on elsewhere, replies from what was told, as if it had died."""
        self.left += 1
        node.silent = True
        self._suspend(node)
        problem, way_out = "does not answer", "it is asked on; look at what its machine does"
        node.client.abandon(
            self._steps, NodeDiedError(subject=f"node {node.client.name!r}", problem=problem, way_out=way_out)
        )


async def _another_answers(own: Ping, others: list[Ping]) -> bool:
    """Waits for the first that answers; False where it is the node itself, or nobody else can."""
    left = set(others)
    while left and not own.done():
        done, left = await asyncio.wait((own, *left), return_when=asyncio.FIRST_COMPLETED)
        left.discard(own)
        if any(each is not own and each.exception() is None for each in done):
            return not own.done()
    return False
