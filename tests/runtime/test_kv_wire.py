"""The KV wire format: what goes in comes out, and nothing else gets in."""

import dataclasses
import struct
from typing import get_args

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from weft.core.errors import WireError
from weft.runtime.kv import wire
from weft.runtime.kv.cache import NUMPY_OF_DTYPE, SCALED, KvCache, KvShape, Layout
from weft.runtime.kv.whole import WholeSource

SHAPES = st.builds(
    KvShape,
    model_hash=st.just("m" * 64),
    layers=st.integers(1, 3),
    kv_heads=st.integers(1, 4),
    head_dim=st.integers(1, 8),
    tokens=st.integers(1, 9),
    dtype=st.sampled_from(sorted(NUMPY_OF_DTYPE)),
    layout=st.sampled_from(get_args(Layout)),
    block_size=st.sampled_from([0, 1, 4]),
    tp_rank=st.just(1),
    tp_size=st.just(2),
).filter(lambda shape: shape.kv_heads in (1, 2, 4))


def filled(shape: KvShape, seed: int = 0) -> KvCache:
    noise = np.random.default_rng(seed)
    dtype = NUMPY_OF_DTYPE[shape.dtype]

    def arrays() -> tuple[np.ndarray, ...]:
        raw = [noise.bytes(shape.array_bytes) for _ in range(shape.layers)]
        return tuple(np.frombuffer(data, dtype).reshape(shape.array_shape) for data in raw)

    def scales() -> tuple[np.ndarray, ...]:
        size = (len(shape.heads), shape.tokens)
        return tuple(noise.random(size, np.float32) for _ in range(shape.layers * (shape.dtype in SCALED)))

    return KvCache(shape, arrays(), arrays(), scales(), scales())


def encoded(kv: KvCache) -> bytes:
    return b"".join(wire.encode(kv))


SMALL = filled(KvShape("m" * 64, 2, 2, 4, 3, "float32"))


@given(SHAPES, st.integers(0, 2**32))
def test_round_trip(shape: KvShape, seed: int) -> None:
    kv = filled(shape, seed)
    again = wire.decode(encoded(kv), model_hash=shape.model_hash)
    assert again.shape == shape
    assert_same(kv, again)


@given(SHAPES, st.data())
def test_chunks_of_several_layers_may_interleave(shape: KvShape, data: st.DataObject) -> None:
    kv = filled(shape)
    reader = wire.KvReader(wire.encode_prelude(shape), model_hash=shape.model_hash)
    step = shape.block_size or 2
    starts = {layer: list(range(0, shape.tokens, step)) for layer in range(shape.layers)}
    while starts:
        layer = data.draw(st.sampled_from(sorted(starts)))
        start = starts[layer].pop(0)
        assert reader.received_tokens(layer) == start
        reader.add(b"".join(wire.encode_chunk(*chunk(kv, layer, start, min(start + step, shape.tokens)))))
        starts = {layer: left for layer, left in starts.items() if left}
    assert_same(kv, reader.finish())


def chunk(kv: KvCache, layer: int, start: int, stop: int) -> tuple[int, int, int, tuple[wire.Buffer, ...]]:
    return layer, start, stop - start, WholeSource(kv).read(layer, start, stop)


def assert_same(kv: KvCache, again: KvCache) -> None:
    for layer in range(kv.shape.layers):
        for before, after in zip(kv.parts(layer), again.parts(layer), strict=True):
            assert before.tobytes() == after.tobytes()
            assert (before.shape, before.dtype) == (after.shape, after.dtype)


@given(st.data())
def test_any_flipped_bit_is_noticed(data: st.DataObject) -> None:
    whole = bytearray(encoded(SMALL))
    place = data.draw(st.integers(0, len(whole) - 1))
    whole[place] ^= 1 << data.draw(st.integers(0, 7))
    with pytest.raises(WireError):
        wire.decode(whole, model_hash=SMALL.shape.model_hash)


@given(st.integers(0, len(encoded(SMALL)) - 1))
def test_any_truncation_is_noticed(size: int) -> None:
    with pytest.raises(WireError):
        wire.decode(encoded(SMALL)[:size], model_hash=SMALL.shape.model_hash)


@given(st.binary(max_size=200))
def test_noise_is_refused(noise: bytes) -> None:
    with pytest.raises(WireError):
        wire.decode(noise, model_hash=SMALL.shape.model_hash)


def test_refusals_say_what_is_wrong() -> None:
    whole = encoded(SMALL)
    cases = {
        "not b'WEFTKV'": b"PICKLE" + whole[6:],
        "format version 1": whole[:6] + struct.pack("<H", 1) + whole[8:],
        "header of 99999 bytes": whole[:8] + struct.pack("<I", 99_999) + whole[12:],
        "1 bytes follow": whole + b"x",
    }
    for said, data in cases.items():
        with pytest.raises(WireError, match=said):
            wire.decode(data, model_hash=SMALL.shape.model_hash)
    with pytest.raises(WireError, match="is of model mmmmmmmmmmmm"):
        wire.decode(whole, model_hash="n" * 64)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"tokens": 10**9}, "would take"),
        ({"tokens": 10**12}, "impossible"),
        ({"layers": 0}, "impossible"),
        ({"layers": 10**6}, "impossible"),
        ({"dtype": "object"}, "impossible"),
        ({"layout": "dnh"}, "Invalid enum value"),
        ({"block_size": -1}, "impossible"),
        ({"tp_rank": 2, "tp_size": 2}, "impossible"),
        ({"kv_heads": 3, "tp_size": 2}, "3 heads, which 2 ranks cannot share"),
    ],
)
def test_a_header_cannot_ask_for_too_much(changes: dict[str, object], said: str) -> None:
    shape = dataclasses.replace(SMALL.shape, **changes)
    with pytest.raises(WireError, match=said):
        wire.KvReader(wire.encode_prelude(shape), model_hash=shape.model_hash)


def test_each_layer_comes_once() -> None:
    reader = wire.KvReader(wire.encode_prelude(SMALL.shape), model_hash=SMALL.shape.model_hash)
    chunks = [b"".join(wire.encode_layer(SMALL, layer)) for layer in range(2)]
    with pytest.raises(WireError, match="ended with 0 of 3 tokens of layer 0"):
        reader.finish()
    reader.add(chunks[0])
    with pytest.raises(WireError, match="layer 0: tokens from 0 to 3 came where 3 of 3 were due"):
        reader.add(chunks[0])  # replayed
    assert [reader.received_tokens(layer) for layer in range(2)] == [3, 0]
    with pytest.raises(WireError, match="ended with 0 of 3 tokens of layer 1"):
        reader.finish()
    reader.add(chunks[1])
    assert reader.complete
