"""What the torch engine has computed, offered to the tiers below it, at the price of computing it again."""

import time
from collections import OrderedDict
from collections.abc import Sequence
from math import inf

from weft.policy.sequence import Iteration
from weft.policy.sequence import Sequence as Served
from weft.runtime.engines.tiered import PrefixTiers
from weft.runtime.engines.track import Track

RATE_WEIGHT = 0.2
REMEMBERED = 1 << 16  # ends of prefixes whose last use is known


class Offers:
    """`s_per_token`: what a token of a prompt takes lately. Without `tiers` nothing is offered."""

    def __init__(self, block_size: int) -> None:
        self.tiers: PrefixTiers | None = None
        self.s_per_token = 0.0
        self._block_size = block_size
        self._used_s: OrderedDict[int, float] = OrderedDict()

    def offer(self, track: Track, served: Served) -> None:
        if served.table.published:
            self._use(served.hashes[served.table.published - 1])
        if self.tiers is not None and served.table.published:
            hashes = served.hashes[: served.table.published]
            self.tiers.offer(hashes, served.table.ids, self.s_per_token * self._block_size, track.salt)

    def time(self, iteration: Iteration, took_s: float) -> None:
        """A pass that was mostly prompts tells what their tokens cost."""
        tokens = sum(chunk.tokens for chunk in iteration.chunks)
        if tokens > iteration.decodes:
            weight = RATE_WEIGHT if self.s_per_token else 1.0
            self.s_per_token += weight * (took_s / (tokens + iteration.decodes) - self.s_per_token)

    def age_s(self, hashes: Sequence[int]) -> float:
        """Since a prefix that ends with one of them was last used; inf: it is not remembered."""
        used_s = max((self._used_s.get(each, -inf) for each in hashes), default=-inf)
        return time.monotonic() - used_s

    def _use(self, end: int) -> None:
        self._used_s[end] = time.monotonic()
        self._used_s.move_to_end(end)
        if len(self._used_s) > REMEMBERED:
            self._used_s.popitem(last=False)
