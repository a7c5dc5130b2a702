"""How the payload of a large frame moves beside its connection: over further sockets, shared memory or RDMA."""

from collections.abc import Sequence
from typing import Protocol

from weft.runtime.transport.base import Buffer

BULK_BYTES = 256 * 1024
"""Payloads from this size on take the bulk way, if the connection has one; smaller ones travel within the frame."""
STALL_S = 30.0
"""A peer that takes or gives nothing for so long is taken for dead."""


class Bulk(Protocol):
    """Frames that go this way are sent one after the other. Errors end the connection."""

    async def prepare(self, parts: Sequence[Buffer], size: int) -> bytes | None:
        """What the receiver must know, sent within the frame. None: there is no room, send the payload there too."""
        ...

    async def deliver(self, parts: Sequence[Buffer], size: int) -> None:
        """Called when the frame has left; the payload may be changed by its owner afterwards."""
        ...

    async def collect(self, ticket: memoryview, size: int) -> memoryview:
        """The payload, at the receiver. WireError for a ticket that cannot be true."""
        ...

    def close(self) -> None: ...
