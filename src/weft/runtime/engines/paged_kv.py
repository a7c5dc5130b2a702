# pyright: standard
"""Where the torch engine keeps K and V: one store of token rows, handed out in blocks, and caches that left it."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from weft.core.errors import RunError
from weft.runtime.engines.config import ModelConfig
from weft.runtime.transport.buffers import BufferPool

LARGE_BYTES = 16 * 1024  # of a piece that is worth a call of its own


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

    @property
    def rows(self) -> "Rows":
        return Rows(self.keys, self.values, np.arange(self.tokens))


@dataclass(eq=False)
class Rows:
    """Where the tokens of one sequence lie: row `slots[i]` of each layer of the stores has token i. Nobody else writes
    there meanwhile, so any thread may read and write, until they are `void`: the engine lost all that it held."""

    keys: Tensor
    values: Tensor
    slots: np.ndarray
    void: bool = False

    def read(self, layer: int, first: int, end: int) -> tuple[memoryview, ...]:
        """The bytes of K and then of V; in main memory they are not copied if they lie in large pieces."""
        slots = self._valid(first, end)
        return tuple(view for store in (self.keys, self.values) for view in _pieces(store[layer], slots))

    def write(self, layer: int, first: int, keys: np.ndarray, values: np.ndarray) -> None:
        """Rows (tokens, kv_heads, head_dim) from token `first` on."""
        slots = self._valid(first, first + len(keys))
        for store, rows in ((self.keys, keys), (self.values, values)):
            if store.device.type == "cpu":
                flat, source = (
                    _row_bytes(store[layer]),
                    np.ascontiguousarray(rows).view(np.uint8).reshape(len(rows), -1),
                )
                for begin, end in _runs(slots):
                    flat[slots[begin] : slots[begin] + end - begin] = source[begin:end]
            else:
                tensor = torch.from_numpy(np.array(rows)).view(store.dtype).to(store.device)
                store[layer].index_copy_(0, torch.from_numpy(slots).to(store.device), tensor)

    def _valid(self, first: int, end: int) -> np.ndarray:
        if self.void:
            problem, way_out = "was lost: a step of its engine failed", "prefill again, or transfer it again"
            raise RunError(subject="KV cache", problem=problem, way_out=way_out)
        return self.slots[first:end]


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
        self._rows = [*zip(self.keys, self.values, strict=True)]
        self._blocks = [[store.view(blocks + 1, -1) for store in layer] for layer in self._rows]
        self._scratch = [self.keys.new_empty(0), self.keys.new_empty(0)]
        self._pool = BufferPool()

    def slots(self, blocks: np.ndarray, start: int, end: int) -> np.ndarray:
        """Where the tokens from `start` to `end` of a sequence with these blocks lie."""
        positions = np.arange(start, end)
        return blocks[positions // self.block_size] * self.block_size + positions % self.block_size

    def store(self, layer: int, slots: Tensor, keys: Tensor, values: Tensor) -> None:
        """Rows (tokens, kv_heads, head_dim)."""
        for store, rows in zip(self._rows[layer], (keys, values), strict=True):
            store.index_copy_(0, slots, rows)

    def gather(self, layer: int, table: Tensor) -> tuple[Tensor, Tensor]:
        """Block ids (sequences, n) → K and V (sequences, n * block_size, kv_heads, head_dim), until the next call: new
        memory for each layer would cost half as much again in page faults."""
        flat, (_, width) = table.flatten(), self._blocks[layer][0].shape
        size = len(flat) * width
        if self._scratch[0].numel() < size:
            self._scratch = [self.keys.new_empty(size) for _ in self._scratch]
        keys, values = (
            torch.index_select(store, 0, flat, out=scratch[:size].view(-1, width)).view(
                len(table), -1, *self.keys.shape[2:]
            )
            for store, scratch in zip(self._blocks[layer], self._scratch, strict=True)
        )
        return keys, values

    def rows(self, blocks: np.ndarray, tokens: int) -> Rows:
        return Rows(self.keys, self.values, self.slots(blocks, 0, tokens))

    def host(self, tokens: int) -> HostKv:
        """Room in main memory, with whatever was there before: fresh pages take five times as long to fill."""
        layers, _, *row = self.keys.shape
        size = layers * tokens * self.keys[0, 0].nbytes
        keys, values = (torch.frombuffer(self._pool.lend(size), dtype=self.keys.dtype) for _ in range(2))
        return HostKv(keys.view(layers, tokens, *row), values.view(layers, tokens, *row))

    def read(self, blocks: np.ndarray, tokens: int) -> HostKv:
        """A copy of a sequence's cache in main memory."""
        slots = self._index(self.slots(blocks, 0, tokens))
        return HostKv(*(store.index_select(1, slots).cpu() for store in (self.keys, self.values)))

    def write(self, blocks: np.ndarray, start: int, kv: HostKv) -> None:
        """Puts the tokens from `start` on where these blocks say."""
        slots = self._index(self.slots(blocks, start, kv.tokens))
        for store, source in ((self.keys, kv.keys), (self.values, kv.values)):
            store.index_copy_(1, slots, source[:, start:].to(store.device))

    @property
    def size_of_block(self) -> int:
        """Bytes of K and V of all layers."""
        return 2 * self.keys[:, : self.block_size].nbytes

    def get_block(self, block: int) -> np.ndarray:
        """A copy of K and V of all layers, as bytes."""
        rows = slice(block * self.block_size, (block + 1) * self.block_size)
        pieces = [store[:, rows].cpu().contiguous().view(torch.uint8).numpy() for store in (self.keys, self.values)]
        return np.concatenate([piece.reshape(-1) for piece in pieces])

    def put_block(self, block: int, data: bytes | bytearray | memoryview) -> bool:
        """What `get_block` gave; False if it is not of the right size."""
        rows = slice(block * self.block_size, (block + 1) * self.block_size)
        target = self.keys[:, rows], self.values[:, rows]
        half = target[0].numel() * self.keys.element_size()
        if len(data) != 2 * half:
            return False
        for at, store in enumerate(target):
            source = torch.from_numpy(np.array(np.frombuffer(data, np.uint8)[at * half : (at + 1) * half]))
            store.copy_(source.view(store.dtype).view(store.shape))
        return True

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


def _pieces(layer: Tensor, slots: np.ndarray) -> list[memoryview]:
    if layer.device.type != "cpu":
        layer, slots = layer.index_select(0, torch.from_numpy(slots).to(layer.device)).cpu(), np.arange(len(slots))
    flat, runs = _row_bytes(layer), _runs(slots)
    if len(runs) * LARGE_BYTES > flat.shape[1] * len(slots):
        return [flat[slots].reshape(-1).data]
    whole, row, at = flat.reshape(-1).data, flat.shape[1], slots.tolist()
    return [whole[at[begin] * row : (at[end - 1] + 1) * row] for begin, end in runs]


def _row_bytes(layer: Tensor) -> np.ndarray:
    """(slots, bytes of a token)"""
    return layer.view(len(layer), -1).view(torch.uint8).numpy()


def _runs(slots: np.ndarray) -> list[tuple[int, int]]:
    """Where runs of slots that follow each other begin and end."""
    borders = (np.flatnonzero(np.diff(slots) != 1) + 1).tolist()
    return list(zip([0, *borders], [*borders, len(slots)], strict=True))


def _zeros(shape: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
    if device.type != "cpu":
        return torch.zeros(shape, dtype=dtype, device=device)
    # numpy takes zeroed pages from the kernel as they are first touched: a large store costs nothing until used
    flat = np.zeros(int(np.prod(shape)) * dtype.itemsize, np.uint8)
    return torch.from_numpy(flat).view(dtype).view(shape)
