"""Prefill and decode on a server that is not ours: the prefill asks and waits for the first piece, the decode takes the
rest. What lies between is an open stream on this node, under the number of a sequence; no cache can move."""

import asyncio
import contextlib
import itertools
from collections.abc import AsyncGenerator
from dataclasses import dataclass

from weft.core.errors import StepFailedError
from weft.core.message import Message
from weft.runtime.engines.remote import RemoteServer, Usage
from weft.runtime.values import KvHandle

UNKNOWN_TOKEN = -1
"""The id of a piece of text: a server tells none."""


_SEQUENCES = itertools.count(2**40)
"""Never those of an engine on the same node."""


@dataclass(slots=True)
class OpenReply:
    stream: AsyncGenerator[str | Usage, None]
    text: str
    usage: Usage | None = None


class RemoteChat:
    def __init__(self, server: RemoteServer) -> None:
        self.server = server
        self._open: dict[int, OpenReply] = {}
        self._hanging_up: set[asyncio.Task[None]] = set()

    async def begin(self, address: str, messages: tuple[Message, ...], max_tokens: int) -> tuple[KvHandle, str]:
        """The handle of the open reply, and its first piece."""
        stream = self.server.chat(messages, max_tokens)
        try:
            first = await anext(stream)
        except BaseException:
            await stream.aclose()
            raise
        is_text = isinstance(first, str)
        reply = OpenReply(stream, first if is_text else "", None if is_text else first)
        sequence = next(_SEQUENCES)
        self._open[sequence] = reply
        return KvHandle(address, sequence, UNKNOWN_TOKEN, 0), reply.text

    async def rest(self, sequence: int) -> AsyncGenerator[str, None]:
        """The pieces after the first."""
        reply = self._reply(sequence)
        async with contextlib.aclosing(reply.stream):
            async for piece in reply.stream:
                if isinstance(piece, Usage):
                    reply.usage = piece
                else:
                    reply.text += piece
                    yield piece

    def ended(self, sequence: int) -> tuple[str, Usage]:
        reply = self._open.pop(sequence)
        return reply.text, reply.usage or Usage()

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
