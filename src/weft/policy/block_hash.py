"""Chained hashes of token blocks: each stands for a whole prefix, so equal hashes mean equal KV caches.

    h_0 = sha256(salt),  h_i = sha256(h_{i-1} ‖ tokens of block i),  the first 8 bytes of each

A cryptographic hash, because whoever can make two prefixes collide reads another's cache (Python's `hash` of integers
is no secret); a salt per tenant keeps caches apart. `SessionHashes` hashes each token of a conversation once.
"""

from array import array
from collections.abc import Sequence
from hashlib import sha256

from weft.core.errors import CapacityError

_BYTES = 8


class SessionHashes:
    """The hashes of a conversation that only grows: `extend` takes the tokens that are new."""

    def __init__(self, block_size: int, salt: str = "") -> None:
        if block_size < 1:
            raise CapacityError(
                subject="block hashes", problem=f"block_size {block_size}", way_out="give at least 1 token a block"
            )
        self.hashes: list[int] = []
        self._block_size = block_size
        self._parent = sha256(salt.encode()).digest()[:_BYTES]
        self._tail = array("I")

    @property
    def tokens(self) -> int:
        return len(self.hashes) * self._block_size + len(self._tail)

    def extend(self, tokens: Sequence[int]) -> list[int]:
        """All hashes so far, of full blocks only."""
        try:
            self._tail += array("I", tokens)
        except (OverflowError, TypeError) as broken:
            raise CapacityError(
                subject="block hashes", problem=f"a token is not a 32-bit id: {broken}", way_out="give token ids"
            ) from None
        data, width = self._tail.tobytes(), self._block_size * self._tail.itemsize
        full = len(self._tail) // self._block_size
        parent = self._parent
        for start in range(0, full * width, width):
            parent = sha256(parent + data[start : start + width]).digest()[:_BYTES]
            self.hashes.append(int.from_bytes(parent, "little"))
        self._parent = parent
        del self._tail[: full * self._block_size]
        return self.hashes


def block_hashes(tokens: Sequence[int], block_size: int, salt: str = "") -> tuple[int, ...]:
    return tuple(SessionHashes(block_size, salt).extend(tokens))
