"""Conversations that a leaving node has cached go to one that stays, where that is cheaper than reading them again."""

import asyncio
from collections.abc import Iterable

from weft.core.deployment import Deployment
from weft.core.errors import WeftError
from weft.core.program import StepKind
from weft.serve.live_node import LiveNode

WITHIN_S = 10.0
"""Of moving; the node that leaves is paid for meanwhile."""

ASSUMED_BYTES_PER_S = 1.25e9
"""Of a line that the plan does not name: 10 Gbit/s."""


async def hand_over(
    leaving: LiveNode, others: Iterable[LiveNode], plan: Deployment, younger_s: float | None = None
) -> str:
    """What became of its prefixes, in words; empty: it shares none. `younger_s`: only what was used since then."""
    if not _shares(leaving) or leaving.client.died.done():
        return ""
    name, info = leaving.client.name, leaving.client.info
    heirs = [
        node
        for node in others
        if node is not leaving and node.takes_work and _shares(node) and node.client.info.model_hash == info.model_hash
    ]
    heir = min(heirs, key=lambda node: node.under_way, default=None)
    if heir is None:
        return f"prefixes of {name} are dropped: nobody else has its model"
    bytes_per_s = min((link.bytes_per_s for link in plan.links), default=ASSUMED_BYTES_PER_S)
    try:
        async with asyncio.timeout(2 * WITHIN_S):
            done = await heir.client.adopt(leaving.client.address, bytes_per_s, WITHIN_S, younger_s)
    except (WeftError, TimeoutError) as error:
        return f"prefixes of {name} are dropped: {error or 'it took too long'}"
    told = f"{done.taken} of {done.cached} cached blocks of {name} went to {heir.client.name}"
    told += f" ({done.taken_bytes / 1e6:.1f} MB)"
    cheaper, lost = done.cached - done.worth, done.worth - done.taken
    return told + (f", {cheaper} are cheaper read again" * bool(cheaper)) + (f", {lost} found no room" * bool(lost))


def _shares(node: LiveNode) -> bool:
    info = node.client.info
    return bool(info.block_size) and StepKind.PREFILL in info.kinds
