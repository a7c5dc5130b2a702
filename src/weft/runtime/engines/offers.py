"""What the torch engine has computed, offered to the tiers below it, at the price of computing it again."""

from weft.policy.sequence import Iteration, Sequence
from weft.runtime.engines.tiered import PrefixTiers
from weft.runtime.engines.track import Track

RATE_WEIGHT = 0.2


class Offers:
    """`s_per_token`: what a token of a prompt takes lately. Without `tiers` nothing is offered."""

    def __init__(self, block_size: int) -> None:
        self.tiers: PrefixTiers | None = None
        self.s_per_token = 0.0
        self._block_size = block_size

    def offer(self, track: Track, served: Sequence) -> None:
        if self.tiers is not None and served.table.published:
            hashes = served.hashes[: served.table.published]
            self.tiers.offer(hashes, served.table.ids, self.s_per_token * self._block_size, track.salt)

    def time(self, iteration: Iteration, took_s: float) -> None:
        """A pass that was mostly prompts tells what their tokens cost."""
        tokens = sum(chunk.tokens for chunk in iteration.chunks)
        if tokens > iteration.decodes:
            weight = RATE_WEIGHT if self.s_per_token else 1.0
            self.s_per_token += weight * (took_s / (tokens + iteration.decodes) - self.s_per_token)
