"""Caches as another engine wants them: number format, layout, block size and tensor-parallel share. Pure functions."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from weft.core.errors import WireError
from weft.runtime.kv.cache import NUMPY_OF_DTYPE, KvCache, KvShape
from weft.runtime.kv.dtypes import narrow, widen

Part = tuple[np.ndarray, np.ndarray | None]
"""K or V of one layer as (heads, tokens, head_dim), and its scales (heads, tokens) if it has them."""


def convert(kv: KvCache, to: KvShape) -> KvCache:
    """`kv` as `to` says. What is equal already is not copied."""
    return kv if kv.shape == to else assemble((kv,), to)


def assemble(shards: Sequence[KvCache], to: KvShape) -> KvCache:
    """One cache from those of several ranks: TP2 → TP1, 4 → 2, 1 → 2. Each may have a form of its own."""
    sources = check_convertible([shard.shape for shard in shards], to)
    layers: list[tuple[np.ndarray, ...]] = []
    for layer in range(to.layers):
        keys, values = (_formed(_joined(shards, sources, layer, which), shards, to) for which in (0, 1))
        scales = [scale for _, scale in (keys, values) if scale is not None]
        layers.append((keys[0], values[0], *scales))
    return KvCache.of_parts(to, layers)


def split(kv: KvCache, tp_size: int) -> tuple[KvCache, ...]:
    """The shares of `tp_size` ranks."""
    return tuple(convert(kv, replace(kv.shape, tp_size=tp_size, tp_rank=rank)) for rank in range(tp_size))


def to_blocks(array: np.ndarray, shape: KvShape) -> np.ndarray:
    """(heads, tokens, head_dim) as `shape` lays it out; the last block is filled up with zeros."""
    heads, tokens, dim = array.shape
    if not shape.block_size:
        return array if shape.layout == "hnd" else array.transpose(1, 0, 2)
    blocks = -(-tokens // shape.block_size)
    out = np.zeros(shape.array_shape_of(tokens), array.dtype)
    inner = out if shape.layout == "hnd" else out.transpose(0, 2, 1, 3)  # (blocks, heads, block, dim), a view
    whole = tokens // shape.block_size
    run = array[:, : whole * shape.block_size].reshape(heads, whole, shape.block_size, dim)
    inner[:whole] = run.transpose(1, 0, 2, 3)
    if blocks > whole:
        inner[whole, :, : tokens - whole * shape.block_size] = array[:, whole * shape.block_size :]
    return out


def from_blocks(array: np.ndarray, shape: KvShape) -> np.ndarray:
    """What `shape` laid out, as (heads, tokens, head_dim); a view where that is possible."""
    inner = array if shape.layout == "hnd" else array.swapaxes(-3, -2)
    if not shape.block_size:
        return inner
    blocks, heads, size, dim = inner.shape
    return inner.transpose(1, 0, 2, 3).reshape(heads, blocks * size, dim)[:, : shape.tokens]


def check_convertible(shards: Sequence[KvShape], to: KvShape) -> list[tuple[int, int, int]]:
    """(shard, first, end): runs of heads inside the shards that together are the heads of `to`, in order."""
    for shard in shards:
        _check_same_cache(shard, to)
    holder = {head: (rank, head - shard.heads.start) for rank, shard in enumerate(shards) for head in shard.heads}
    missing = [head for head in to.heads if head not in holder]
    if missing:
        raise _refusal(f"lacks the heads {missing} of {to.kv_heads}", "fetch the shards of all ranks")
    runs: list[tuple[int, int, int]] = []
    for head in to.heads:
        rank, at = holder[head]
        if runs and runs[-1][0] == rank and runs[-1][2] == at:
            runs[-1] = (rank, runs[-1][1], at + 1)
        else:
            runs.append((rank, at, at + 1))
    return runs


def _joined(
    shards: Sequence[KvCache], sources: list[tuple[int, int, int]], layer: int, which: int
) -> list[tuple[int, Part]]:
    """The runs of heads of K (0) or V (1), each with the number of its shard."""
    joined: list[tuple[int, Part]] = []
    for rank, first, end in sources:
        parts = shards[rank].parts(layer)
        numbers = from_blocks(parts[which], shards[rank].shape)[first:end]
        joined.append((rank, (numbers, parts[2 + which][first:end] if len(parts) > 2 else None)))
    return joined


def _formed(runs: list[tuple[int, Part]], shards: Sequence[KvCache], to: KvShape) -> Part:
    cast = [_cast(part, shards[rank].shape.dtype, to.dtype) for rank, part in runs]
    numbers = cast[0][0] if len(cast) == 1 else np.concatenate([array for array, _ in cast])
    scales = [scale for _, scale in cast if scale is not None]
    return to_blocks(numbers, to), np.concatenate(scales) if scales else None


def _cast(part: Part, dtype: str, wanted: str) -> Part:
    if dtype == wanted:
        return part
    array, scales = part
    assert array.dtype == NUMPY_OF_DTYPE[dtype], "KvCache arrays have the type that their shape names"
    return narrow(widen(array, dtype, scales), wanted)


def _check_same_cache(shape: KvShape, to: KvShape) -> None:
    for what in ("model_hash", "layers", "kv_heads", "head_dim", "tokens"):
        is_value, wanted = getattr(shape, what), getattr(to, what)
        if is_value != wanted:
            raise _refusal(
                f"has {what} {is_value}, this engine holds {wanted}", "run the same checkpoint on both sides"
            )


def _refusal(problem: str, way_out: str) -> WireError:
    return WireError(subject="KV cache", problem=problem, way_out=way_out)
