# pyright: standard
"""One sequence's KV inside the torch engine: preallocated, doubled when full."""

import torch
from torch import Tensor

from weft.runtime.engines.config import ModelConfig

FIRST_CAPACITY = 64  # tokens


class SequenceKv:
    """`keys` and `values` have shape (layers, kv_heads, capacity, head_dim); the first `length` tokens are in use."""

    def __init__(self, config: ModelConfig, dtype: torch.dtype, device: torch.device) -> None:
        shape = (config.layers, config.kv_heads, FIRST_CAPACITY, config.head_dim)
        self.keys = torch.empty(shape, dtype=dtype, device=device)
        self.values = torch.empty_like(self.keys)
        self.length = 0

    def grow(self, tokens: int) -> int:
        """Makes room for `tokens` more, to be stored layer by layer; returns the position of the first."""
        start = self.length
        self.length += tokens
        if self.length > self.keys.shape[2]:
            capacity = max(self.length, 2 * self.keys.shape[2])
            self.keys, self.values = (_enlarged(old, start, capacity) for old in (self.keys, self.values))
        return start

    def store(self, layer: int, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Writes (kv_heads, new tokens, head_dim) at the end; returns the layer's K and V of all tokens, as views."""
        start = self.length - keys.shape[1]
        self.keys[layer, :, start : self.length] = keys
        self.values[layer, :, start : self.length] = values
        return self.keys[layer, :, : self.length], self.values[layer, :, : self.length]


def _enlarged(old: Tensor, used: int, capacity: int) -> Tensor:
    new = old.new_empty((*old.shape[:2], capacity, old.shape[3]))
    new[:, :, :used] = old[:, :, :used]
    return new
