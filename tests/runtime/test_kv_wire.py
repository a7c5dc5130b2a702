"""The KV wire format: what goes in comes out, and nothing else gets in."""

import dataclasses
import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from weft.core.errors import WireError
from weft.runtime.kv import wire
from weft.runtime.kv.cache import NUMPY_OF_DTYPE, KvCache, KvShape

SHAPES = st.builds(
    KvShape,
    model_hash=st.just("m" * 64),
    layers=st.integers(1, 3),
    kv_heads=st.integers(1, 4),
    head_dim=st.integers(1, 8),
    tokens=st.integers(1, 9),
    dtype=st.sampled_from(sorted(NUMPY_OF_DTYPE)),
)


def filled(shape: KvShape, seed: int = 0) -> KvCache:
    noise = np.random.default_rng(seed)
    dtype = NUMPY_OF_DTYPE[shape.dtype]

    def arrays() -> tuple[np.ndarray, ...]:
        raw = [noise.bytes(shape.array_bytes) for _ in range(shape.layers)]
        return tuple(np.frombuffer(data, dtype).reshape(shape.array_shape) for data in raw)

    return KvCache(shape, arrays(), arrays())


def encoded(kv: KvCache) -> bytes:
    return b"".join(wire.encode(kv))


SMALL = filled(KvShape("m" * 64, 2, 2, 4, 3, "float32"))


@given(SHAPES, st.integers(0, 2**32))
def test_round_trip(shape: KvShape, seed: int) -> None:
    kv = filled(shape, seed)
    again = wire.decode(encoded(kv), model_hash=shape.model_hash)
    assert again.shape == shape
    for before, after in zip(kv.keys + kv.values, again.keys + again.values, strict=True):
        assert before.tobytes() == after.tobytes()
        assert before.shape == after.shape


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
        "format version 2": whole[:6] + struct.pack("<H", 2) + whole[8:],
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
    [({"tokens": 10**12}, "would take"), ({"layers": 0}, "impossible"), ({"dtype": "object"}, "impossible")],
)
def test_a_header_cannot_ask_for_too_much(changes: dict[str, object], said: str) -> None:
    shape = dataclasses.replace(SMALL.shape, **changes)
    with pytest.raises(WireError, match=said):
        wire.KvReader(wire.encode_prelude(shape), model_hash=shape.model_hash)


def test_layers_come_once_and_in_order() -> None:
    reader = wire.KvReader(wire.encode_prelude(SMALL.shape), model_hash=SMALL.shape.model_hash)
    chunks = [b"".join(wire.encode_layer(SMALL, layer)) for layer in range(2)]
    with pytest.raises(WireError, match="layer 1 came where 0"):
        reader.add_layer(chunks[1])
    reader.add_layer(chunks[0])
    with pytest.raises(WireError, match="ended after layer 1 of 2"):
        reader.finish()
