# pyright: standard
"""What the scheduler drives: passes of the model, and the store that its caches lie in. One process or several."""

from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from weft.runtime.engines.batch import Piece, build_batch
from weft.runtime.engines.config import ModelConfig
from weft.runtime.engines.llama import Llama
from weft.runtime.engines.paged_kv import HostKv, PagedKv, Rows

Stored = Callable[[int], object]
"""Gets a layer, in the midst of a pass: K and V of all its new tokens are stored. It must return at once."""


class Executor(Protocol):
    @property
    def config(self) -> ModelConfig: ...
    @property
    def device(self) -> torch.device: ...
    @property
    def in_place(self) -> bool:
        """Other threads can read and write its blocks where they are, as `rows`."""
        ...

    def rows(self, blocks: np.ndarray, tokens: int) -> Rows: ...
    def host(self, tokens: int) -> HostKv:
        """Room in main memory for a cache, with all KV heads of the model."""
        ...

    def logits(self, pieces: Sequence[Piece], stored: Stored | None = None) -> Tensor:
        """(wanted rows, vocab); K and V of all the new tokens are stored: if `in_place`, `stored` hears of it."""
        ...

    def read(self, blocks: np.ndarray, tokens: int) -> HostKv:
        """A copy of a sequence's cache in main memory, with all KV heads of the model."""
        ...

    def write(self, blocks: np.ndarray, start: int, kv: HostKv) -> None:
        """Puts the tokens from `start` on where these blocks say."""
        ...

    def copy(self, source: np.ndarray, target: np.ndarray, start: int, end: int) -> None: ...
    def clear(self, blocks: np.ndarray) -> None:
        """Zeros: what is masked out of attention must still be a number."""
        ...

    def close(self) -> None: ...


class LocalExecutor:
    """Everything in this process."""

    in_place = True

    def __init__(self, model: Llama, kv: PagedKv) -> None:
        self.config = model.config
        self.device = kv.keys.device
        self.read, self.write, self.copy, self.clear = kv.read, kv.write, kv.copy, kv.clear
        self.rows, self.host = kv.rows, kv.host
        self.get_block, self.put_block = kv.get_block, kv.put_block
        self.block_bytes = kv.size_of_block
        self._model = model
        self._kv = kv

    def logits(self, pieces: Sequence[Piece], stored: Stored | None = None) -> Tensor:
        batch = build_batch(pieces, self._kv, self.config.window)
        return self._model.logits(self._model.forward(batch, self._kv, stored))

    def close(self) -> None: ...
