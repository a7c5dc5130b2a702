# pyright: standard
"""Tensor parallelism: which part of a model each rank holds, and what the ranks say to each other in a pass.

Attention heads, the width of feed-forward networks and the vocabulary are divided. Q, K, V, gate, up and the head are
cut by their outputs, O and down by their inputs, so a layer needs two sums over the ranks and nothing else.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import torch
from torch import Tensor

from weft.core.errors import CapacityError
from weft.runtime.engines.config import ModelConfig

_OUTPUTS = re.compile(r"(q_proj|k_proj|v_proj|gate_proj|up_proj|w1|w3|embed_tokens|lm_head)\.(weight|bias)$")
_INPUTS = re.compile(r"(o_proj|down_proj|w2)\.(weight|bias)$")


@dataclass(frozen=True, slots=True)
class Share:
    rank: int = 0
    size: int = 1


WHOLE = Share()


@dataclass(frozen=True, slots=True)
class Part:
    """From `start` to `end` along `axis` of a tensor."""

    axis: int
    start: int
    end: int


class Ranks(Protocol):
    """The ranks of one engine. All of them call the same methods in the same order."""

    @property
    def share(self) -> Share: ...
    def sum(self, x: Tensor) -> Tensor:
        """Over all ranks; may write to `x`."""
        ...

    def collect(self, x: Tensor) -> Sequence[Tensor]:
        """Every rank's `x`, all of one shape, in order of rank."""
        ...


class Alone:
    """One rank that holds all."""

    share = WHOLE

    def sum(self, x: Tensor) -> Tensor:
        return x

    def collect(self, x: Tensor) -> Sequence[Tensor]:
        return (x,)


ALONE = Alone()


def local_config(config: ModelConfig, share: Share) -> ModelConfig:
    """The model as one rank sees it; the vocabulary stays whole. CapacityError where it cannot be divided."""
    size, kv_heads = share.size, config.kv_heads
    rest = config.vocab - (size - 1) * -(-config.vocab // size)
    if config.heads % size or config.ffn % size or (kv_heads % size and size % kv_heads) or rest < 1:
        raise CapacityError(
            subject=f"tensor parallelism of {size}",
            problem=f"cannot divide {config.heads} heads, {kv_heads} KV heads and {config.ffn} feed-forward rows",
            way_out="take a number that divides the heads and the rows, and divides the KV heads or is a multiple; "
            "or a checkpoint that it divides",
        )
    return replace(config, heads=config.heads // size, kv_heads=max(1, kv_heads // size), ffn=config.ffn // size)


def vocab_part(config: ModelConfig, share: Share) -> range:
    """Rows of embedding and head; the last rank's may be fewer."""
    rows = -(-config.vocab // share.size)
    return range(min(share.rank * rows, config.vocab), min((share.rank + 1) * rows, config.vocab))


def kv_part(config: ModelConfig, share: Share) -> range:
    """KV heads. With more ranks than heads, neighbours hold the same one."""
    count = max(1, config.kv_heads // share.size)
    first = share.rank * config.kv_heads // share.size
    return range(first, first + count)


def part_of(name: str, config: ModelConfig, share: Share) -> Part | None:
    """What a rank holds of the checkpoint's tensor `name`; None: all of it."""
    if share.size == 1:
        return None
    if found := _OUTPUTS.search(name):
        rows = _rows(found[1], config, share)
        return Part(0, rows.start, rows.stop)
    found = _INPUTS.search(name)
    if found is None:
        return None
    if found[2] == "bias":  # added once
        return None if share.rank == 0 else Part(0, 0, 0)
    width = _divided(config.heads, share, config.head_dim) if found[1] == "o_proj" else _divided(config.ffn, share)
    return Part(1, width.start, width.stop)


def whole_kv(config: ModelConfig, parts: Sequence[Tensor]) -> Tensor:
    """(layers, tokens, kv_heads, head_dim) of the model from those of its ranks."""
    if len(parts) == 1:
        return parts[0]
    repeats = max(1, len(parts) // config.kv_heads)
    return torch.cat([*parts][::repeats], dim=2)


def _rows(name: str, config: ModelConfig, share: Share) -> range:
    if name in ("embed_tokens", "lm_head"):
        return vocab_part(config, share)
    if name == "q_proj":
        return _divided(config.heads, share, config.head_dim)
    if name in ("k_proj", "v_proj"):
        heads = kv_part(config, share)
        return range(heads.start * config.head_dim, heads.stop * config.head_dim)
    return _divided(config.ffn, share)


def _divided(count: int, share: Share, unit: int = 1) -> range:
    each = count // share.size * unit
    return range(share.rank * each, (share.rank + 1) * each)
