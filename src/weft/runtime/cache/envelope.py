"""How a block lies at rest, version 1. The payload is the engine's own (weft.runtime.kv), not looked into.

    magic b"WEFTBLK" | version u8 | header_size u32 | xxh3(header) u64 | header | payload

Integers are little-endian. The header is a msgpack map, at most 1 KiB: the block's name, size and xxh3 of what follows,
and how it was encrypted, if it was. It is bound to its name: a block that was copied to another's place is refused.
"""

import struct
from typing import NamedTuple, Protocol

import msgspec
import xxhash

from weft.core.errors import CacheError
from weft.runtime.cache.base import Buffer

MAGIC, VERSION = b"WEFTBLK", 1
PRELUDE = struct.Struct("<7sBIQ")
MAX_HEADER_BYTES = 1024


class Sealing(NamedTuple):
    """What is needed, besides the key that it names, to open what was encrypted."""

    key: str
    salt: bytes
    nonce: int


class Sealer(Protocol):
    """Encrypts at rest: weft.runtime.cache.keys."""

    def seal(self, data: Buffer, bound_to: bytes) -> tuple[bytes, Sealing]: ...

    def open(self, data: Buffer, bound_to: bytes, sealing: Sealing) -> bytes:
        """CacheError if it was changed, or sealed with another key."""
        ...


class Header(msgspec.Struct, frozen=True):
    name: str
    size: int
    checksum: int
    sealing: Sealing | None = None


def wrap(name: str, payload: Buffer, keys: Sealer | None = None) -> tuple[Buffer, Buffer]:
    """Head and body, to be written one after the other. Without encryption the payload is not copied."""
    body, sealing = (payload, None) if keys is None else keys.seal(payload, name.encode())
    header = msgspec.msgpack.encode(Header(name, memoryview(body).nbytes, xxhash.xxh3_64_intdigest(body), sealing))
    return PRELUDE.pack(MAGIC, VERSION, len(header), xxhash.xxh3_64_intdigest(header)) + header, body


def unwrap(name: str, data: Buffer, keys: Sealer | None = None) -> Buffer:
    """The payload, a view of `data` unless it was encrypted. CacheError if it is not what `wrap` made for this name."""
    view = memoryview(data).cast("B")
    header, start = _read_header(view)
    body = view[start:]
    if header.name != name:
        raise _refusal(name, f"holds {header.name}")
    if len(body) != header.size:
        raise _refusal(name, f"has {len(body)} of {header.size} bytes")
    if xxhash.xxh3_64_intdigest(body) != header.checksum:
        raise _refusal(name, "does not match its checksum")
    if (keys is None) != (header.sealing is None):
        raise _refusal(name, "is encrypted, and no key is given" if keys is None else "is not encrypted")
    return body if keys is None or header.sealing is None else keys.open(body, name.encode(), header.sealing)


def _read_header(view: memoryview) -> tuple[Header, int]:
    if len(view) < PRELUDE.size:
        raise _refusal("", "is truncated in its prelude")
    magic, version, size, checksum = PRELUDE.unpack_from(view)
    if magic != MAGIC or version != VERSION:
        raise _refusal("", f"begins with {bytes(view[:8])!r}, not {MAGIC!r} and version {VERSION}")
    header = view[PRELUDE.size : PRELUDE.size + size]
    if size > MAX_HEADER_BYTES or len(header) != size or xxhash.xxh3_64_intdigest(header) != checksum:
        raise _refusal("", "has a broken header")
    try:
        return msgspec.msgpack.decode(header, type=Header), PRELUDE.size + size
    except msgspec.MsgspecError as error:
        raise _refusal("", f"has a malformed header ({error})") from error


def _refusal(name: str, problem: str) -> CacheError:
    return CacheError(subject=f"stored block {name}".strip(), problem=problem, way_out="it is dropped")
