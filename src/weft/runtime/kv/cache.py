"""A sequence's KV cache outside an engine: plain arrays that any engine can write and read."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

# numpy has no bfloat16: its 16 bits travel as uint16
NUMPY_OF_DTYPE = {
    "float32": np.dtype(np.float32),
    "float16": np.dtype(np.float16),
    "bfloat16": np.dtype(np.uint16),
}


@dataclass(frozen=True, slots=True)
class KvShape:
    """What both sides must agree on: the model, and how many numbers there are. Block sizes are each engine's own."""

    model_hash: str
    layers: int
    kv_heads: int
    head_dim: int
    tokens: int
    dtype: str

    @property
    def array_shape(self) -> tuple[int, int, int]:
        """Of K and of V, per layer. Heads first, so that one tensor-parallel rank's heads lie together."""
        return (self.kv_heads, self.tokens, self.head_dim)

    @property
    def array_bytes(self) -> int:
        return self.kv_heads * self.tokens * self.head_dim * NUMPY_OF_DTYPE[self.dtype].itemsize

    @property
    def total_bytes(self) -> int:
        return 2 * self.layers * self.array_bytes


@dataclass(frozen=True, slots=True)
class KvCache:
    """`keys[layer]` and `values[layer]` have shape (kv_heads, tokens, head_dim)."""

    shape: KvShape
    keys: tuple[NDArray[np.generic], ...]
    values: tuple[NDArray[np.generic], ...]
