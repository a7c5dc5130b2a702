"""The KV wire format, version 3 (docs/kv-format.md): the same for every vendor, transport and file.

    prelude  magic b"WEFTKV" | version u16 | header_size u32 | xxh3(header) u64 | header
    chunk    layer u32 | first_token u32 | tokens u32 | payload_size u64 | xxh3(head, payload) u64 | payload

Integers are little-endian. The header is a msgpack map of KvShape, at most 4 KiB. A payload is K, then V, then their
scales if the dtype has any, of one layer and one run of tokens. Layers come in any order, the tokens of each layer in
order: what is computed first can travel first. A reader refuses everything else with WireError before it allocates or
keeps anything.
"""

import struct
import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple, get_args

import msgspec
import numpy as np
from xxhash import xxh3_64

from weft.core.errors import WireError
from weft.runtime.kv.cache import NUMPY_OF_DTYPE, SCALE, KvCache, KvShape, Layout

MAGIC = b"WEFTKV"
VERSION = 3
PRELUDE = struct.Struct("<6sHIQ")
CHUNK = struct.Struct("<IIIQQ")
CHECKED_HEAD_BYTES = CHUNK.size - 8  # all but the checksum itself
MAX_HEADER_BYTES = 4096
MAX_KV_BYTES = 64 * 1024**3
MAX_SIZE = 2**31  # of every number in the header: their products stay small integers
MAX_LAYERS = 4096  # the reader keeps a list of so many entries before any payload has come

Buffer = bytes | bytearray | memoryview
Parts = tuple[np.ndarray, ...]

assert sys.byteorder == "little", "arrays are sent as they lie in memory"


class Run(NamedTuple):
    """`tokens` of a layer, from `first` on: K, V and scales."""

    layer: int
    first: int
    tokens: int
    parts: Parts


def checksum(buffers: Iterable[Buffer]) -> int:
    """XXH3-64: several times faster than CRC-32, and as good at finding accidents."""
    sum_ = xxh3_64()
    for buffer in buffers:
        sum_.update(buffer)
    return sum_.intdigest()


def encode_prelude(shape: KvShape) -> bytes:
    header = msgspec.msgpack.encode(shape)
    return PRELUDE.pack(MAGIC, VERSION, len(header), checksum([header])) + header


def encode_chunk(layer: int, first_token: int, tokens: int, payload: Sequence[Buffer]) -> tuple[Buffer, ...]:
    """One chunk as (head, pieces of the payload …): nothing is copied."""
    head = CHUNK.pack(layer, first_token, tokens, sum(map(len, payload)), 0)[:CHECKED_HEAD_BYTES]
    return (head + struct.pack("<Q", checksum((head, *payload))), *payload)


def encode_layer(kv: KvCache, layer: int) -> tuple[Buffer, ...]:
    """A whole layer as one chunk."""
    return encode_chunk(layer, 0, kv.shape.tokens, tuple(map(bytes_view, kv.parts(layer))))


def encode(kv: KvCache) -> Iterator[Buffer]:
    """The whole cache as buffers to be written one after the other."""
    yield encode_prelude(kv.shape)
    for layer in range(kv.shape.layers):
        yield from encode_layer(kv, layer)


def decode(data: Buffer, *, model_hash: str) -> KvCache:
    """A whole cache from one buffer (a file, a tier). The arrays are views of `data` where a layer is one chunk."""
    view = memoryview(data)
    start = prelude_size(view)
    reader = KvReader(view[:start], model_hash=model_hash)
    while not reader.complete:
        size = reader.chunk_bytes(view[start : start + CHUNK.size])
        reader.add(view[start : start + size])
        start += size
    if start != len(view):
        raise _refusal(f"{len(view) - start} bytes follow the last layer")
    return reader.finish()


class KvReader:
    """Checks a cache as its chunks arrive; keeps those that are given to `add`, not those given to `read`."""

    def __init__(self, prelude: Buffer, *, model_hash: str, limit_bytes: int = MAX_KV_BYTES) -> None:
        self.shape = _read_prelude(prelude)
        if self.shape.model_hash != model_hash:
            raise _refusal(f"is of model {self.shape.model_hash[:12]}, this engine runs {model_hash[:12]}")
        if self.shape.total_bytes > limit_bytes:
            raise _refusal(f"would take {self.shape.total_bytes} bytes, the limit is {limit_bytes}")
        self._chunks: list[list[Parts]] = [[] for _ in range(self.shape.layers)]
        self._tokens = [0] * self.shape.layers
        self._missing = self.shape.layers

    @property
    def complete(self) -> bool:
        return self._missing == 0

    def received_tokens(self, layer: int) -> int:
        """Of a layer; all of them once it can be used."""
        return self._tokens[layer]

    def chunk_bytes(self, head: Buffer) -> int:
        """Size of the chunk that `head` begins, checked against what is due."""
        layer, _, tokens, _ = self._read_head(head)
        del layer
        return CHUNK.size + self.shape.layer_bytes_of(tokens)

    def read(self, chunk: Buffer) -> Run:
        """What a chunk that is due says; its arrays are views of it."""
        view = memoryview(chunk)
        layer, first, tokens, told = self._read_head(view[: CHUNK.size])
        payload = view[CHUNK.size :]
        due = self.shape.layer_bytes_of(tokens)
        if len(payload) != due:
            raise _refusal(f"layer {layer} has {len(payload)} bytes, {due} were due")
        if checksum((view[:CHECKED_HEAD_BYTES], payload)) != told:
            raise _refusal(f"layer {layer} does not match its checksum")
        self._tokens[layer] += tokens
        self._missing -= self._tokens[layer] == self.shape.tokens
        return Run(layer, first, tokens, self._arrays(payload, tokens))

    def add(self, chunk: Buffer) -> None:
        run = self.read(chunk)
        self._chunks[run.layer].append(run.parts)

    def finish(self) -> KvCache:
        if not self.complete:
            layer = next(each for each, got in enumerate(self._tokens) if got < self.shape.tokens)
            raise _refusal(f"ended with {self._tokens[layer]} of {self.shape.tokens} tokens of layer {layer}")
        return KvCache.of_parts(self.shape, [joined(chunks, self.shape) for chunks in self._chunks])

    def _read_head(self, head: Buffer) -> tuple[int, int, int, int]:
        """Layer, first token, tokens and checksum of a chunk that may come now."""
        shape = self.shape
        if len(head) < CHUNK.size:
            raise _refusal(f"is truncated after {shape.layers - self._missing} of {shape.layers} layers")
        numbers: tuple[int, ...] = CHUNK.unpack_from(head)
        layer, first, tokens, size, told = numbers
        if layer >= shape.layers:
            raise _refusal(f"has a chunk of layer {layer}, the model has {shape.layers}")
        due = self._tokens[layer]
        if first != due or not 0 < tokens <= shape.tokens - due:
            problem = (
                f"layer {layer}: tokens from {first} to {first + tokens} came where {due} of {shape.tokens} were due"
            )
            raise _refusal(problem)
        if shape.block_size and first % shape.block_size:
            raise _refusal(f"layer {layer}: a chunk begins at token {first}, inside a block of {shape.block_size}")
        if size != shape.layer_bytes_of(tokens):
            raise _refusal(f"layer {layer} tells {size} bytes, {shape.layer_bytes_of(tokens)} were due")
        return layer, first, tokens, told

    def _arrays(self, payload: memoryview, tokens: int) -> Parts:
        shape, numbers = self.shape, NUMPY_OF_DTYPE[self.shape.dtype]
        array, scale = shape.array_bytes_of(tokens), shape.scale_bytes_of(tokens)
        ends = (array, 2 * array)
        arrays = [np.frombuffer(payload[end - array : end], numbers) for end in ends]
        parts = [part.reshape(shape.array_shape_of(tokens)) for part in arrays]
        if scale:
            scales = np.frombuffer(payload[2 * array :], SCALE)
            parts += list(scales.reshape(2, len(shape.heads), tokens))
        return tuple(parts)


def joined(runs: Sequence[Parts], shape: KvShape) -> Parts:
    """The runs of one layer as one; copied only if there are several."""
    if len(runs) == 1:
        return runs[0]
    axes = (shape.token_axis,) * 2 + (1, 1)
    return tuple(np.concatenate(parts, axis) for parts, axis in zip(zip(*runs, strict=True), axes, strict=False))


def bytes_view(array: np.ndarray) -> memoryview:
    return np.ascontiguousarray(array).data.cast("B")


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
    if checksum([header]) != PRELUDE.unpack_from(data)[3]:
        raise _refusal("has a header that does not match its checksum")
    try:
        shape = msgspec.msgpack.decode(header, type=KvShape)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise _refusal(f"has a malformed header ({error})") from error
    if not _is_possible(shape):
        raise _refusal(f"has an impossible shape ({shape})")
    return shape


def _is_possible(shape: KvShape) -> bool:
    sizes = (shape.kv_heads, shape.head_dim, shape.tokens, shape.tp_size)
    return (
        all(0 < size < MAX_SIZE for size in sizes)
        and 0 < shape.layers <= MAX_LAYERS
        and 0 <= shape.block_size < MAX_SIZE
        and 0 <= shape.tp_rank < shape.tp_size
        and shape.dtype in NUMPY_OF_DTYPE
        and shape.layout in get_args(Layout)
    )


def _refusal(problem: str) -> WireError:
    return WireError(subject="KV cache", problem=problem, way_out="send it again from an engine of the same model")
