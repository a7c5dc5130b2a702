"""Rounds of a session as model calls that share their prefixes: what the rounds before left in a cache can be found."""

from weft.traces.request import CallSize

BLOCK_TOKENS = 16
_ROOM = 1 << 32
"""Blocks that one session may name."""


class SessionPrefix:
    """A context that grows from round to round. Where a round keeps less of it (it was shortened), what follows is new.
    What the first round finds in a cache is a prefix that all sessions share (a system prompt)."""

    def __init__(self, number: int) -> None:
        self._next = (number + 1) * _ROOM
        self._blocks: list[int] | None = None

    def call(self, prefix: int, fresh: int, osl: int) -> CallSize:
        """`prefix` tokens of the context so far, `fresh` new ones, and an answer."""
        kept = prefix // BLOCK_TOKENS
        blocks = list(range(kept)) if self._blocks is None else self._blocks[:kept]
        known = prefix + fresh + osl
        missing = known // BLOCK_TOKENS - len(blocks)
        blocks += range(self._next, self._next + missing)
        self._next += missing
        self._blocks = blocks
        return CallSize(prefix + fresh, osl, tuple(blocks), BLOCK_TOKENS, known)
