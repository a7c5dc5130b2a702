"""A MAC for payloads that travel beside their frames: AES-GMAC, by keys of this connection and direction.

The tag goes into the frame, which has a MAC of its own; nonces are counted, so a key never sees one twice. Off unless
it is asked for, on both sides: it costs a pass over the payload at either end (docs/decisions/0013).
"""

import hmac
from collections.abc import Sequence

from weft.core.errors import MissingProgramError, WireError
from weft.runtime.threads import in_thread
from weft.runtime.transport.base import Buffer
from weft.runtime.transport.bulk import Bulk

TAG_BYTES = 16
_NONCE_BYTES = 12


class Tagger:
    """Counts the payloads of one direction and makes their tags."""

    def __init__(self, key: bytes) -> None:
        try:
            from cryptography.hazmat.primitives.ciphers import AEADEncryptionContext, Cipher, algorithms, modes
        except ImportError as error:
            raise MissingProgramError(
                subject="MACs of KV payloads", problem="need cryptography", way_out="pip install 'weft[cache]'"
            ) from error

        def begin(nonce: bytes) -> AEADEncryptionContext:
            return Cipher(algorithms.AES(key), modes.GCM(nonce)).encryptor()

        self._begin = begin
        self._count = 0

    def tag(self, parts: Sequence[Buffer]) -> bytes:
        """Of the next payload."""
        encryptor = self._begin(self._count.to_bytes(_NONCE_BYTES, "little"))
        self._count += 1
        for part in parts:
            encryptor.authenticate_additional_data(part)
        encryptor.finalize()
        return encryptor.tag


class SealedBulk:
    """`inner`, with a tag before each ticket."""

    def __init__(self, inner: Bulk, outgoing: Tagger, incoming: Tagger) -> None:
        self._inner = inner
        self._outgoing = outgoing
        self._incoming = incoming
        self.deliver = inner.deliver
        self.close = inner.close

    async def prepare(self, parts: Sequence[Buffer], size: int) -> bytes | None:
        ticket = await self._inner.prepare(parts, size)
        if ticket is None:
            return None
        return await in_thread(lambda: self._outgoing.tag(parts)) + ticket

    async def collect(self, ticket: memoryview, size: int) -> memoryview:
        payload = await self._inner.collect(ticket[TAG_BYTES:], size)
        if not hmac.compare_digest(await in_thread(lambda: self._incoming.tag((payload,))), ticket[:TAG_BYTES]):
            raise WireError(
                subject="payload",
                problem="is not what this peer sent",
                way_out="connect again; if it comes back, somebody is on the line",
            )
        return payload
