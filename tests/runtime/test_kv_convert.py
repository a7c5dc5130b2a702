"""Caches in another form: what is only moved is exact, what is rounded stays within the documented bound."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from weft.core.errors import WireError
from weft.runtime.kv.cache import KvCache, KvShape
from weft.runtime.kv.convert import assemble, convert, split

WHOLE = KvShape("m" * 64, layers=2, kv_heads=4, head_dim=8, tokens=37, dtype="float32")
FORMS = st.fixed_dictionaries(
    {"layout": st.sampled_from(["hnd", "nhd"]), "block_size": st.sampled_from([0, 1, 16, 37, 128])}
)


def cache(seed: int, spread: float = 3.0) -> KvCache:
    noise = np.random.default_rng(seed)

    def arrays() -> tuple[np.ndarray, ...]:
        wide = noise.normal(size=(WHOLE.layers, *WHOLE.array_shape)) * np.exp(
            noise.normal(size=WHOLE.head_dim) * spread
        )
        return tuple(wide.astype(np.float32))

    return KvCache(WHOLE, arrays(), arrays())


def same(one: KvCache, other: KvCache) -> bool:
    layers = range(one.shape.layers)
    return one.shape == other.shape and all(
        np.array_equal(a, b) for layer in layers for a, b in zip(one.parts(layer), other.parts(layer), strict=True)
    )


@given(FORMS, FORMS, st.sampled_from([1, 2, 4, 8]), st.sampled_from([1, 2, 4, 8]), st.integers(0, 9))
@settings(max_examples=40)
def test_moving_is_exact(one: dict, other: dict, tp: int, tp_then: int, seed: int) -> None:
    """Block size 16 ↔ 128 ↔ none, NHD ↔ HND, TP degree a → b: and back again, bit for bit."""
    kv = cache(seed)
    shards = split(convert(kv, replace(WHOLE, **one)), tp)
    assert all(shard.keys[0].shape == shard.shape.array_shape for shard in shards)
    again = [assemble(shards, replace(WHOLE, **other, tp_size=tp_then, tp_rank=rank)) for rank in range(tp_then)]
    assert same(assemble(again, WHOLE), kv)


def test_a_block_holds_its_tokens_in_order() -> None:
    """Against the definition: token t is row t % 16 of block t // 16."""
    kv = cache(1)
    paged = convert(kv, replace(WHOLE, layout="nhd", block_size=16))
    assert paged.keys[1].shape == (3, 16, 4, 8)
    for token in (0, 15, 16, 36):
        assert np.array_equal(paged.keys[1][token // 16, token % 16], kv.keys[1][:, token])
    assert not paged.keys[1][2, 5:].any()


BOUNDS = {
    "bfloat16": lambda x, largest: np.abs(x) * 2.0**-8,
    "float16": lambda x, largest: np.abs(x) * 2.0**-11 + 2.0**-25,
    "float8_e4m3": lambda x, largest: np.maximum(np.abs(x) * 2.0**-4, largest / 448 * 2.0**-10) * (1 + 1e-6),
    "int8": lambda x, largest: np.broadcast_to(largest / 254, x.shape) * (1 + 1e-5),
}


@pytest.mark.parametrize("dtype", BOUNDS)
@given(seed=st.integers(0, 99))
@settings(max_examples=15)
def test_rounding_stays_within_its_bound(dtype: str, seed: int) -> None:
    kv = cache(seed, spread=1.5)
    narrow = convert(kv, replace(WHOLE, dtype=dtype))
    back = convert(narrow, WHOLE)
    for x, y in zip(kv.keys + kv.values, back.keys + back.values, strict=True):
        largest = np.abs(x).max(axis=-1, keepdims=True)
        assert (np.abs(x - y) <= BOUNDS[dtype](x, largest)).all()
    assert same(convert(back, narrow.shape), narrow) or dtype in ("float8_e4m3", "int8")


def test_zeros_and_scales_survive() -> None:
    zeros = KvCache(WHOLE, *[tuple(np.zeros((2, *WHOLE.array_shape), np.float32))] * 2)
    for dtype in BOUNDS:
        there = convert(zeros, replace(WHOLE, dtype=dtype, block_size=16))
        assert same(convert(there, WHOLE), zeros)
    scaled = convert(cache(2), replace(WHOLE, dtype="int8"))
    moved = convert(scaled, replace(scaled.shape, tp_size=2, tp_rank=1, layout="nhd"))
    assert np.array_equal(moved.key_scales[0], scaled.key_scales[0][2:])  # not rounded a second time


def test_what_does_not_fit_is_refused() -> None:
    kv = cache(0)
    large = KvCache(WHOLE, tuple(array * np.float32(1e9) for array in kv.keys), kv.values)
    with pytest.raises(WireError, match="more than float16 can hold"):
        convert(large, replace(WHOLE, dtype="float16"))
    endless = KvCache(WHOLE, tuple(array * np.float32(np.inf) for array in kv.keys), kv.values)
    with pytest.raises(WireError, match="not finite"):
        convert(endless, replace(WHOLE, dtype="int8"))
    with pytest.raises(WireError, match="has tokens 37, this engine holds 38"):
        convert(kv, replace(WHOLE, tokens=38))
    with pytest.raises(WireError, match=r"lacks the heads \[0, 1\]"):
        assemble(split(kv, 2)[1:], WHOLE)
    with pytest.raises(WireError, match="4 heads, which 3 ranks cannot share"):
        split(kv, 3)
