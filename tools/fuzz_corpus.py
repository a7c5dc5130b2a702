# pyright: standard
"""What the fuzzer begins with (tools/fuzz_frames.py): real messages, caches and streams, made by the real encoders."""

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import msgspec
from msgspec import inspect

from weft.runtime import messages
from weft.runtime.kv.cache import NUMPY_OF_DTYPE, KvShape, Layout

MODEL = "m" * 64
FRAME = struct.Struct("<BHHBH")
"""How it is spoilt (SPOILT), where the stream is cut; sizes of header, ticket, payload; these bytes follow."""
CHUNK = struct.Struct("<BBBB")
"""How it is spoilt (SPOILT), layer, first token, tokens; bytes of the payload follow."""
NO_MAC, REPLAYED, OVERSIZED, LARGE = 1, 2, 4, 8
SPOILT = NO_MAC | REPLAYED | OVERSIZED
RECORDS = bytes((0, 7, 1, 8, 1, 0, 0, 0, 2, 0, 0, 0, 0, 9, 1, 9))
"""A segment is opened, one of ours is collected and released, another is opened: kind, name, sealed, pages."""

SAMPLES = {
    inspect.FloatType: 0.5,
    inspect.BoolType: True,
    inspect.StrType: "a",
    inspect.AnyType: "a",
    inspect.NoneType: None,
}


def shapes() -> Iterator[KvShape]:
    """Each number format, layout, block size and share."""
    for dtype in NUMPY_OF_DTYPE:
        for layout in get_args(Layout):
            for block_size in (0, 2):
                yield KvShape(MODEL, 2, 2, 4, 3, dtype, layout, block_size)
                yield KvShape(MODEL, 2, 4, 2, 5, dtype, layout, block_size, tp_rank=1, tp_size=2)


def cache(shape: KvShape) -> bytes:
    """The header, then a run of each layer, for the target `cache`."""
    header = msgspec.msgpack.encode(shape)
    runs = ((first, min(2, shape.tokens - first)) for first in range(0, shape.tokens, 2))
    order = [(layer, first, tokens) for first, tokens in runs for layer in range(shape.layers)]
    return struct.pack("<H", len(header)) + header + b"".join(CHUNK.pack(0, *each) + b"\x01\x7f" for each in order)


def stream(header: bytes, payload: bytes = b"", ticket: bytes = b"", spoilt: int = 0) -> bytes:
    """One frame for the target `frames`."""
    return FRAME.pack(spoilt, 7, len(header), len(ticket), len(payload)) + ticket + header + payload


def headers() -> Iterator[bytes]:
    """Every kind of message, filled in by its type."""
    for kind in get_args(messages.Wire):
        sample = _sample(inspect.type_info(kind), 3)
        yield messages.encode(msgspec.convert(sample, kind))


def _sample(of: inspect.Type, depth: int) -> object:
    """Plain data that converts to this type."""
    match of:
        case inspect.StructType(fields=fields, tag=tag, tag_field=tag_field, array_like=array_like):
            values = {field.name: _sample(field.type, depth - 1) for field in fields}
            return list(values.values()) if array_like else values | ({tag_field: tag} if tag_field else {})
        case inspect.DataclassType(fields=fields):
            return {field.name: _sample(field.type, depth - 1) for field in fields}
        case inspect.UnionType(types=types):
            return None if depth <= 0 and of.includes_none else _sample(types[0], depth)
        case inspect.VarTupleType(item_type=item) | inspect.ListType(item_type=item):
            kinds = item.types if isinstance(item, inspect.UnionType) else (item,)
            return [_sample(kind, depth - 1) for kind in kinds] if depth > 0 else []
        case inspect.DictType(value_type=value):
            return {"isl": _sample(value, depth - 1)}
        case inspect.EnumType(cls=cls):
            return next(iter(cls)).value
        case _:
            return SAMPLES.get(type(of), 1)


def write(folder: Path, tags: dict[str, bytes], whole: bytes) -> None:
    """One file a seed; `tags` is the byte that each target's inputs begin with."""
    seeds = [tags["raw_cache"] + whole, tags["changed"] + b"\x20\x00\x01\x02", tags["segments"] + RECORDS]
    seeds += [tags["cache"] + cache(shape) for shape in shapes()]
    headers_of = list(headers())
    seeds += [tags["message"] + header for header in headers_of]
    frames = [stream(header, b"payload", b"lanes") for header in headers_of]
    seeds += [tags["frames"] + frame for frame in frames]
    seeds += [tags["frames"] + frames[0] + stream(b"\x80", spoilt=spoilt) for spoilt in range(8)]
    seeds.append(tags["frames"] + stream(headers_of[0], b"x" * 1024, spoilt=LARGE))
    seeds.append(tags["frames"] + b"".join(frames))
    folder.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(seeds):
        (folder / f"seed-{number:03d}").write_bytes(seed)
