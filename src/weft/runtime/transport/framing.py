"""What a frame looks like in bytes, little-endian:

    header_size u32 | ticket_size u32 | payload_size u64 | mac 16 bytes | ticket | msgpack header | payload

The MAC is keyed BLAKE2b over the frame's number, its sizes, and all that follows, with a key that only this connection
and this direction have: a frame that was changed, left out, repeated or moved is refused. A payload that travels
beside the frame (`ticket_size` > 0, transport/bulk.py) is not in the MAC.
"""

import hmac
import struct
from collections.abc import Iterable
from hashlib import blake2b

from weft.core.errors import WireError
from weft.runtime import messages
from weft.runtime.transport.base import Buffer, Frame

SIZES = struct.Struct("<IIQ")
MAC_BYTES = 16
PREFIX_BYTES = SIZES.size + MAC_BYTES
MAX_HEADER_BYTES = 4 * 1024**2
MAX_TICKET_BYTES = 64 * 1024
MAX_PAYLOAD_BYTES = 1024**3
_COUNT = struct.Struct("<Q")


class Sealer:
    """Counts the frames of one direction and makes their MACs."""

    def __init__(self, key: bytes) -> None:
        self._keyed = blake2b(key=key, digest_size=MAC_BYTES)
        self._count = 0

    def mac(self, sizes: Buffer, parts: Iterable[Buffer]) -> bytes:
        """Of the next frame."""
        digest = self._keyed.copy()
        digest.update(_COUNT.pack(self._count) + sizes)
        self._count += 1
        for part in parts:
            digest.update(part)
        return digest.digest()


def encode(frame: Frame, sealer: Sealer, ticket: bytes = b"") -> tuple[Buffer, ...]:
    """Buffers to be written one after the other; the payload is not copied, and left out where there is a ticket."""
    header = messages.encode(frame.message)
    payload_bytes = sum(map(len, frame.payload)) if frame.payload else 0
    _check_sizes(len(header), len(ticket), payload_bytes)
    sizes = SIZES.pack(len(header), len(ticket), payload_bytes)
    payload = () if ticket else frame.payload
    mac = sealer.mac(sizes, (ticket, header, *payload) if ticket else (header, *payload))
    return (sizes + mac + ticket + header, *payload)


def read_prefix(prefix: Buffer, at: int = 0) -> tuple[int, int, int]:
    """(header, ticket, payload) bytes, refused before anything is allocated for them."""
    sizes = SIZES.unpack_from(prefix, at)
    _check_sizes(*sizes)
    return sizes


def check(prefix: Buffer, body: memoryview, sealer: Sealer) -> None:
    """`body` is what followed the prefix; refused before it reaches a parser."""
    prefix = bytes(prefix)
    if not hmac.compare_digest(sealer.mac(prefix[: SIZES.size], (body,)), prefix[SIZES.size :]):
        raise WireError(
            subject="frame",
            problem="is not the next one that this peer sent: changed, repeated or out of order",
            way_out="connect again; if it comes back, somebody is on the line",
        )


def _check_sizes(header_bytes: int, ticket_bytes: int, payload_bytes: int) -> None:
    if 0 < header_bytes <= MAX_HEADER_BYTES and ticket_bytes <= MAX_TICKET_BYTES and payload_bytes <= MAX_PAYLOAD_BYTES:
        return
    sizes, limits = (header_bytes, ticket_bytes, payload_bytes), (MAX_HEADER_BYTES, MAX_TICKET_BYTES, MAX_PAYLOAD_BYTES)
    raise WireError(
        subject="frame",
        problem=f"has {' + '.join(map(str, sizes))} bytes, allowed {' + '.join(map(str, limits))}",
        way_out="send less at once; or the peer does not speak this protocol",
    )
