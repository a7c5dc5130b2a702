"""The KV wire format, version 1: documented, self-contained, the same for every vendor, transport and file.

    prelude  magic b"WEFTKV" | version u16 | header_size u32 | crc32(header) u32 | header
    chunk    layer u32 | payload_size u64 | crc32(payload) u32 | payload              (once per layer, in order)

Integers are little-endian. The header is a msgpack map of KvShape, at most 4 KiB. A payload is the layer's K and then
its V, each C-ordered (kv_heads, tokens, head_dim) in little-endian `dtype`. Layers are separate chunks so that they can
stream; the format knows no block size and no tensor parallelism. A reader refuses everything else with WireError
before it allocates or keeps anything.
"""

import struct
import sys
import zlib
from collections.abc import Iterator

import msgspec
import numpy as np

from weft.core.errors import WireError
from weft.runtime.kv.cache import NUMPY_OF_DTYPE, KvCache, KvShape

MAGIC = b"WEFTKV"
VERSION = 1
PRELUDE = struct.Struct("<6sHII")
CHUNK = struct.Struct("<IQI")
MAX_HEADER_BYTES = 4096
MAX_KV_BYTES = 64 * 1024**3

Buffer = bytes | bytearray | memoryview

assert sys.byteorder == "little", "arrays are sent as they lie in memory"


def encode_prelude(shape: KvShape) -> bytes:
    header = msgspec.msgpack.encode(shape)
    return PRELUDE.pack(MAGIC, VERSION, len(header), zlib.crc32(header)) + header


def encode_layer(kv: KvCache, layer: int) -> tuple[Buffer, Buffer, Buffer]:
    """One chunk as (chunk head, K, V). K and V are views of the cache: nothing is copied if it is contiguous."""
    keys, values = (_bytes_view(arrays[layer]) for arrays in (kv.keys, kv.values))
    checksum = zlib.crc32(values, zlib.crc32(keys))
    return CHUNK.pack(layer, keys.nbytes + values.nbytes, checksum), keys, values


def encode(kv: KvCache) -> Iterator[Buffer]:
    """The whole cache as buffers to be written one after the other."""
    yield encode_prelude(kv.shape)
    for layer in range(kv.shape.layers):
        yield from encode_layer(kv, layer)


def decode(data: Buffer, *, model_hash: str) -> KvCache:
    """A whole cache from one buffer (a file, a tier). The arrays are views of `data`."""
    view = memoryview(data)
    start = prelude_size(view)
    reader = KvReader(view[:start], model_hash=model_hash)
    size = CHUNK.size + 2 * reader.shape.array_bytes
    for _ in range(reader.shape.layers):
        reader.add_layer(view[start : start + size])
        start += size
    if start != len(view):
        raise _refusal(f"{len(view) - start} bytes follow the last layer")
    return reader.finish()


class KvReader:
    """Takes a cache in as its chunks arrive."""

    def __init__(self, prelude: Buffer, *, model_hash: str, limit_bytes: int = MAX_KV_BYTES) -> None:
        self.shape = _read_prelude(prelude)
        if self.shape.model_hash != model_hash:
            raise _refusal(f"is of model {self.shape.model_hash[:12]}, this engine runs {model_hash[:12]}")
        if self.shape.total_bytes > limit_bytes:
            raise _refusal(f"would take {self.shape.total_bytes} bytes, the limit is {limit_bytes}")
        self._keys: list[np.ndarray] = []
        self._values: list[np.ndarray] = []

    def add_layer(self, chunk: Buffer) -> None:
        view = memoryview(chunk)
        if len(view) < CHUNK.size:
            raise _refusal(f"is truncated in layer {len(self._keys)}")
        layer, size, checksum = CHUNK.unpack_from(view)
        payload = view[CHUNK.size :]
        if layer != len(self._keys) or layer >= self.shape.layers:
            raise _refusal(f"layer {layer} came where {len(self._keys)} of {self.shape.layers} was due")
        if size != 2 * self.shape.array_bytes or len(payload) != size:
            raise _refusal(f"layer {layer} has {len(payload)} bytes, {2 * self.shape.array_bytes} were due")
        if zlib.crc32(payload) != checksum:
            raise _refusal(f"layer {layer} does not match its checksum")
        self._keys.append(self._array(payload[: size // 2]))
        self._values.append(self._array(payload[size // 2 :]))

    def finish(self) -> KvCache:
        if len(self._keys) != self.shape.layers:
            raise _refusal(f"ended after layer {len(self._keys)} of {self.shape.layers}")
        return KvCache(self.shape, tuple(self._keys), tuple(self._values))

    def _array(self, payload: memoryview) -> np.ndarray:
        return np.frombuffer(payload, NUMPY_OF_DTYPE[self.shape.dtype]).reshape(self.shape.array_shape)


def prelude_size(data: Buffer) -> int:
    """Bytes of the prelude that `data` begins with."""
    if len(data) < PRELUDE.size:
        raise _refusal("is truncated in its prelude")
    magic, version, header_size, _ = PRELUDE.unpack_from(data)
    if magic != MAGIC:
        raise _refusal(f"begins with {bytes(magic)!r}, not {MAGIC!r}")
    if version != VERSION:
        raise _refusal(f"has format version {version}, this reader knows {VERSION}")
    if header_size > MAX_HEADER_BYTES:
        raise _refusal(f"has a header of {header_size} bytes, the limit is {MAX_HEADER_BYTES}")
    return PRELUDE.size + header_size


def _read_prelude(data: Buffer) -> KvShape:
    if len(data) != prelude_size(data):
        raise _refusal("is truncated in its header")
    header = memoryview(data)[PRELUDE.size :]
    if zlib.crc32(header) != PRELUDE.unpack_from(data)[3]:
        raise _refusal("has a header that does not match its checksum")
    try:
        shape = msgspec.msgpack.decode(header, type=KvShape)
    except msgspec.MsgspecError as error:
        raise _refusal(f"has a malformed header ({error})") from error
    sizes = (shape.layers, shape.kv_heads, shape.head_dim, shape.tokens)
    if shape.dtype not in NUMPY_OF_DTYPE or min(sizes) < 1:
        raise _refusal(f"has an impossible shape {sizes} of {shape.dtype!r}")
    return shape


def _bytes_view(array: np.ndarray) -> memoryview:
    return np.ascontiguousarray(array).data.cast("B")


def _refusal(problem: str) -> WireError:
    return WireError(subject="KV cache", problem=problem, way_out="send it again from an engine of the same model")
