"""A sequence's KV cache outside an engine: plain arrays that any engine can write and read, and how they lie."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from weft.core.errors import WireError

# numpy has no bfloat16 and no float8: their bits travel as integers
NUMPY_OF_DTYPE = {
    "float32": np.dtype(np.float32),
    "float16": np.dtype(np.float16),
    "bfloat16": np.dtype(np.uint16),
    "float8_e4m3": np.dtype(np.uint8),
    "int8": np.dtype(np.int8),
}
SCALED = ("float8_e4m3", "int8")
"""Number formats that carry a float32 scale for each head of each token."""
SCALE = np.dtype(np.float32)

Layout = Literal["hnd", "nhd"]
"""Heads, tokens, dimension; or tokens, heads, dimension."""


@dataclass(frozen=True, slots=True)
class KvShape:
    """What a cache is of (the model), how many numbers there are, and how they lie in memory.

    `kv_heads` are the whole model's; rank `tp_rank` of `tp_size` holds its share of them. `block_size` in tokens; 0:
    one run of tokens without blocks. The last block is full, whatever `tokens` says.
    """

    model_hash: str
    layers: int
    kv_heads: int
    head_dim: int
    tokens: int
    dtype: str
    layout: Layout = "hnd"
    block_size: int = 0
    tp_rank: int = 0
    tp_size: int = 1

    @property
    def heads(self) -> range:
        """The model's KV heads that this shard holds. With more ranks than heads, neighbours hold the same one."""
        if self.kv_heads % self.tp_size == 0:
            share = self.kv_heads // self.tp_size
            return range(self.tp_rank * share, (self.tp_rank + 1) * share)
        if self.tp_size % self.kv_heads == 0:
            head = self.tp_rank * self.kv_heads // self.tp_size
            return range(head, head + 1)
        raise WireError(
            subject="KV cache",
            problem=f"has {self.kv_heads} heads, which {self.tp_size} ranks cannot share equally",
            way_out="use a tensor-parallel size that divides the heads, or is a multiple of them",
        )

    def array_shape_of(self, tokens: int) -> tuple[int, ...]:
        """Of K and of V of one layer, for a run of `tokens`."""
        heads, size = len(self.heads), self.block_size or tokens
        inner = (heads, size, self.head_dim) if self.layout == "hnd" else (size, heads, self.head_dim)
        return (-(-tokens // size), *inner) if self.block_size else inner

    def array_bytes_of(self, tokens: int) -> int:
        blocks = -(-tokens // self.block_size) * self.block_size if self.block_size else tokens
        return len(self.heads) * blocks * self.head_dim * NUMPY_OF_DTYPE[self.dtype].itemsize

    def scale_bytes_of(self, tokens: int) -> int:
        return len(self.heads) * tokens * SCALE.itemsize if self.dtype in SCALED else 0

    def layer_bytes_of(self, tokens: int) -> int:
        """K, V and their scales of one layer."""
        return 2 * (self.array_bytes_of(tokens) + self.scale_bytes_of(tokens))

    @property
    def array_shape(self) -> tuple[int, ...]:
        return self.array_shape_of(self.tokens)

    @property
    def array_bytes(self) -> int:
        return self.array_bytes_of(self.tokens)

    @property
    def total_bytes(self) -> int:
        return self.layers * self.layer_bytes_of(self.tokens)

    @property
    def token_axis(self) -> int:
        """Along which runs of tokens (or of blocks) follow each other."""
        return 1 if self.layout == "hnd" and not self.block_size else 0


@dataclass(frozen=True, slots=True)
class KvCache:
    """`keys[layer]` and `values[layer]` have `shape.array_shape`; scales, where the dtype has them, (heads, tokens)."""

    shape: KvShape
    keys: tuple[NDArray[np.generic], ...]
    values: tuple[NDArray[np.generic], ...]
    key_scales: tuple[NDArray[np.float32], ...] = ()
    value_scales: tuple[NDArray[np.float32], ...] = ()

    def parts(self, layer: int) -> tuple[NDArray[np.generic], ...]:
        """All that one layer consists of: K, V and, if it has them, the scales of K and of V."""
        arrays = (self.keys, self.values, self.key_scales, self.value_scales)
        return tuple(array[layer] for array in arrays if array)

    @classmethod
    def of_parts(cls, shape: KvShape, layers: "list[tuple[NDArray[np.generic], ...]]") -> "KvCache":
        """From what `parts` gives, layer by layer."""
        return cls(shape, *zip(*layers, strict=True))  # pyright: ignore[reportArgumentType]  # scales are float32
