"""What a frame looks like in bytes: header_size u32 | payload_size u64 | msgpack header | payload, little-endian."""

import struct

from weft.core.errors import WireError
from weft.runtime import messages
from weft.runtime.transport.base import Buffer, Frame

PREFIX = struct.Struct("<IQ")
MAX_HEADER_BYTES = 4 * 1024**2
MAX_PAYLOAD_BYTES = 1024**3


def encode(frame: Frame) -> tuple[Buffer, ...]:
    """Buffers to be written one after the other; the payload is not copied."""
    header = messages.encode(frame.message)
    payload_bytes = sum(len(part) for part in frame.payload)
    _check_sizes(len(header), payload_bytes)
    return (PREFIX.pack(len(header), payload_bytes) + header, *frame.payload)


def read_prefix(prefix: Buffer) -> tuple[int, int]:
    """(header, payload) bytes that follow, refused before anything is allocated for them."""
    header_bytes, payload_bytes = PREFIX.unpack(prefix)
    _check_sizes(header_bytes, payload_bytes)
    return header_bytes, payload_bytes


def decode(body: memoryview, header_bytes: int) -> Frame:
    return Frame(messages.decode(body[:header_bytes]), (body[header_bytes:],))


def _check_sizes(header_bytes: int, payload_bytes: int) -> None:
    if not 0 < header_bytes <= MAX_HEADER_BYTES or payload_bytes > MAX_PAYLOAD_BYTES:
        raise WireError(
            subject="frame",
            problem=f"has {header_bytes} + {payload_bytes} bytes, allowed {MAX_HEADER_BYTES} + {MAX_PAYLOAD_BYTES}",
            way_out="send less at once; or the peer does not speak this protocol",
        )
