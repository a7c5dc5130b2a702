"""Prefill and decode on a server that is not ours: the prefill asks and waits for the first piece, the decode takes the
rest. What lies between is an open stream on this node, under the number of a sequence; no cache can move."""

import asyncio
import contextlib
import itertools
from collections.abc import AsyncGenerator
from dataclasses import dataclass

from weft.core.errors import StepFailedError
from weft.core.message import Message
from weft.runtime.engines.remote import RemoteServer
from weft.runtime.engines.remote_wire import End, Piece
from weft.runtime.messages import UNKNOWN_TOKEN, Ending
from weft.runtime.remote_spec import Usage
from weft.runtime.reply_terms import Attributes, said_of
from weft.runtime.values import KvHandle

_SEQUENCES = itertools.count(2**40)
"""Never those of an engine on the same node."""


@dataclass(slots=True)
class OpenReply:
    stream: AsyncGenerator[Piece | End, None]
    text: str
    end: End | None = None


class RemoteChat:
    def __init__(self, server: RemoteServer) -> None:
        self.server = server
        self._open: dict[int, OpenReply] = {}
        self._hanging_up: set[asyncio.Task[None]] = set()

    async def begin(
        self, address: str, messages: tuple[Message, ...], attributes: Attributes
    ) -> tuple[KvHandle, Piece | None]:
        """The handle of the open reply, and its first piece, if it says anything."""
        if said := said_of(attributes):
            problem = f"was lost after {len(said)} pieces: a server cannot go on after what it said"
            raise StepFailedError(subject=f"reply by {self.server.spec.url}", problem=problem, way_out="ask again")
        stream = self.server.chat(messages, attributes)
        try:
            first = await anext(stream)
        except BaseException:
            await stream.aclose()
            raise
        piece, end = (first, None) if isinstance(first, Piece) else (None, first)
        sequence = next(_SEQUENCES)
        self._open[sequence] = OpenReply(stream, "" if piece is None else piece.text, end)
        return KvHandle(address, sequence, UNKNOWN_TOKEN, 0), piece

    async def rest(self, sequence: int) -> AsyncGenerator[Piece, None]:
        """The pieces after the first."""
        reply = self._reply(sequence)
        async with contextlib.aclosing(reply.stream):
            async for piece in reply.stream:
                if isinstance(piece, End):
                    reply.end = piece
                else:
                    reply.text += piece.text
                    yield piece

    def ended(self, sequence: int) -> tuple[str, End]:
        reply = self._open.pop(sequence)
        return reply.text, reply.end or End(Usage(), Ending("stop"))

    async def release(self, sequence: int) -> None:
        """Hangs up; a reply that is not there is fine."""
        reply = self._open.pop(sequence, None)
        if reply is not None:
            await reply.stream.aclose()

    def forget(self, sequence: int) -> None:
        """As `release`, for who cannot wait."""
        if sequence in self._open:
            task = asyncio.create_task(self.release(sequence))
            self._hanging_up.add(task)
            task.add_done_callback(self._hanging_up.discard)

    async def close(self) -> None:
        for sequence in tuple(self._open):
            await self.release(sequence)
        await self.server.close()

    def _reply(self, sequence: int) -> OpenReply:
        reply = self._open.get(sequence)
        if reply is None:
            raise StepFailedError(
                subject=f"reply {sequence}", problem="is not open on this node", way_out="decode where it was prefilled"
            )
        return reply
