# pyright: standard
"""One sequence in the torch engine, from its first prompt to its release: its tokens, and where its cache is."""

from dataclasses import dataclass, field

import numpy as np

from weft.policy.block_hash import SessionHashes
from weft.policy.sequence import Sequence, Stage
from weft.runtime.engines.base import Begun
from weft.runtime.engines.paged_kv import HostKv
from weft.runtime.engines.requests import Listener, Request
from weft.runtime.engines.sampling import History

UNKNOWN = -1  # in place of the tokens of a prompt whose cache came from elsewhere
_NO_BLOCKS = np.empty(0, np.int64)


@dataclass(slots=True, eq=False)
class Track:
    """`tokens` are the prompt and what came after it; the cache holds all but the last. It is in the `blocks` of the
    policy sequence that is being served (`active`) or rests between two requests (`kept`), or in main memory (`host`),
    or gone: then it is computed again. A cache whose prompt is not known never goes."""

    id: int
    tokens: list[int]
    salt: str = ""
    active: Sequence | None = None
    kept: Sequence | None = None
    host: HostKv | None = None
    blocks: np.ndarray = field(default_factory=lambda: _NO_BLOCKS)
    request: Request | None = None
    listener: Listener | None = None
    begun: Begun | None = None
    """Hears that its prompt is being computed, and may be read as it comes."""
    history: History | None = None
    hashes: SessionHashes | None = None
    rank: float | None = None
    """Its place among those who wait, which it has from its first request on."""
    foreign: bool = False
    """It came from elsewhere, and nobody has seen yet that it is sound: it is not found as a prefix."""
    borrowed: int = 0
    """So many read its blocks."""
    waits_for_cache: bool = False
    """Its blocks are to be filled from `kept` or `host` as soon as it has them."""

    @property
    def known(self) -> bool:
        return self.tokens[0] != UNKNOWN

    @property
    def stored(self) -> int:
        return len(self.tokens) - 1

    @property
    def readable(self) -> bool:
        """Its cache is whole, here or in main memory."""
        decoding = self.active is not None and self.active.stage is Stage.DECODING and not self.waits_for_cache
        return decoding or self.kept is not None or self.host is not None

    def hash_known(self, tokens: int, block_size: int) -> tuple[int, ...]:
        """The hashes of the full blocks of its first tokens, which only grow."""
        if not self.known:
            return ()
        if self.hashes is None:
            self.hashes = SessionHashes(block_size, self.salt)
        return tuple(self.hashes.extend(self.tokens[self.hashes.tokens : tokens]))
