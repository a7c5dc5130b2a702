# pyright: standard
"""Where the torch engine keeps K and V: one store of token rows, handed out in blocks, and caches that left it."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from weft.runtime.engines.config import ModelConfig


@dataclass(frozen=True, slots=True)
class HostKv:
    """A sequence's cache outside the store; each of shape (layers, tokens, kv_heads, head_dim)."""

    keys: Tensor
    values: Tensor

    @property
    def tokens(self) -> int:
        return self.keys.shape[1]

    @property
    def size_bytes(self) -> int:
        return self.keys.nbytes + self.values.nbytes


class PagedKv:
    """`keys` and `values` have shape (layers, slots, kv_heads, head_dim). Block b is the slots from b * block_size on.

    `padding` is one more block, of zeros, for whoever has to read a block where there is none.
    """

    def __init__(
        self, config: ModelConfig, blocks: int, block_size: int, dtype: torch.dtype, device: torch.device
    ) -> None:
        self.block_size = block_size
        self.padding = blocks
        shape = (config.layers, (blocks + 1) * block_size, config.kv_heads, config.head_dim)
        self.keys, self.values = (_zeros(shape, dtype, device) for _ in range(2))
        self._scratch = [self.keys.new_empty(0), self.keys.new_empty(0)]

    def slots(self, blocks: np.ndarray, start: int, end: int) -> np.ndarray:
        """Where the tokens from `start` to `end` of a sequence with these blocks lie."""
        positions = np.arange(start, end)
        return blocks[positions // self.block_size] * self.block_size + positions % self.block_size

    def store(self, layer: int, slots: Tensor, keys: Tensor, values: Tensor) -> None:
        """Rows (tokens, kv_heads, head_dim)."""
        self.keys[layer].index_copy_(0, slots, keys)
        self.values[layer].index_copy_(0, slots, values)

    def gather(self, layer: int, table: Tensor) -> tuple[Tensor, Tensor]:
        """Block ids (sequences, n) → K and V (sequences, n * block_size, kv_heads, head_dim), until the next call: new
        memory for each layer would cost half as much again in page faults."""
        _, slots, kv_heads, head_dim = self.keys.shape
        flat, width = table.flatten(), self.block_size * kv_heads * head_dim
        if self._scratch[0].numel() < len(flat) * width:
            self._scratch = [self.keys.new_empty(len(flat) * width) for _ in self._scratch]
        keys, values = (
            torch.index_select(
                store[layer].view(slots // self.block_size, width),
                0,
                flat,
                out=scratch[: len(flat) * width].view(-1, width),
            ).view(len(table), -1, kv_heads, head_dim)
            for store, scratch in zip((self.keys, self.values), self._scratch, strict=True)
        )
        return keys, values

    def read(self, blocks: np.ndarray, tokens: int) -> HostKv:
        """A copy of a sequence's cache in main memory."""
        slots = self._index(self.slots(blocks, 0, tokens))
        return HostKv(*(store.index_select(1, slots).cpu() for store in (self.keys, self.values)))

    def write(self, blocks: np.ndarray, start: int, kv: HostKv) -> None:
        """Puts the tokens from `start` on where these blocks say."""
        slots = self._index(self.slots(blocks, start, kv.tokens))
        for store, source in ((self.keys, kv.keys), (self.values, kv.values)):
            store.index_copy_(1, slots, source[:, start:].to(store.device))

    def copy(self, source: np.ndarray, target: np.ndarray, start: int, end: int) -> None:
        """From one sequence's blocks to another's."""
        from_slots, to_slots = (self._index(self.slots(blocks, start, end)) for blocks in (source, target))
        for store in (self.keys, self.values):
            store.index_copy_(1, to_slots, store.index_select(1, from_slots))

    def clear(self, blocks: np.ndarray) -> None:
        """Zeros: what is masked out of attention must still be a number."""
        slots = self._index(self.slots(blocks, 0, len(blocks) * self.block_size))
        for store in (self.keys, self.values):
            store.index_fill_(1, slots, 0)

    def _index(self, slots: np.ndarray) -> Tensor:
        return torch.from_numpy(slots).to(self.keys.device)


def block_bytes(config: ModelConfig, block_size: int, dtype: torch.dtype) -> int:
    return 2 * config.layers * block_size * config.kv_heads * config.head_dim * dtype.itemsize


def _zeros(shape: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
    if device.type != "cpu":
        return torch.zeros(shape, dtype=dtype, device=device)
    # numpy takes zeroed pages from the kernel as they are first touched: a large store costs nothing until used
    flat = np.zeros(int(np.prod(shape)) * dtype.itemsize, np.uint8)
    return torch.from_numpy(flat).view(dtype).view(shape)
