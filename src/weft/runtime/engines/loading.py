# pyright: standard
"""From a model directory to what one rank of an engine runs on: its share of the weights, and of the KV store."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from weft.core.errors import RunError
from weft.runtime.engines.checkpoint import read_config, read_weights
from weft.runtime.engines.config import ModelConfig
from weft.runtime.engines.llama import Llama, expected_tensors
from weft.runtime.engines.paged_kv import PagedKv
from weft.runtime.engines.shards import ALONE, WHOLE, Ranks, Share, local_config, part_of

INT8 = "int8"
PRECISIONS = {
    "float32": torch.float32,
    "float16": torch.float16,
    "bfloat16": torch.bfloat16,
    INT8: torch.bfloat16,  # that is what its weights meet
}


@dataclass(frozen=True, slots=True)
class Rank:
    config: ModelConfig
    weights: Mapping[str, Tensor]
    kv: PagedKv

    def model(self, ranks: Ranks = ALONE) -> Llama:
        return Llama(self.config, self.weights, ranks)


def load_rank(
    directory: Path, precision: str, device: torch.device, share: Share = WHOLE, store: tuple[int, int] = (1, 16)
) -> Rank:
    """`store` is its size in blocks, and theirs in tokens."""
    config, dtype = read_config(directory), dtype_of(precision)
    local = local_config(config, share)
    weights = read_weights(
        directory,
        expected_tensors(config),
        dtype,
        str(device),
        lambda name: part_of(name, config, share),
        int8=precision == INT8,
    )
    return Rank(config, weights, PagedKv(local, *store, dtype, device))


def dtype_of(precision: str) -> torch.dtype:
    """Of activations and caches."""
    dtype = PRECISIONS.get(precision)
    if dtype is None:
        raise RunError(
            subject="precision", problem=f"is {precision!r}", way_out=f"take one of {', '.join(sorted(PRECISIONS))}"
        )
    return dtype
