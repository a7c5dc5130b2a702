"""/v1/chat/completions: a request becomes one agent run, told whole or as a stream of chunks."""

import base64
import time
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from weft.serve.agents import ServedAgent
from weft.serve.api.conversation import agent_inputs
from weft.serve.api.reply import Reply
from weft.serve.api.schema import (
    AnswerMessage,
    ChatRequest,
    Choice,
    Chunk,
    ChunkChoice,
    Completion,
    Delta,
    Spoken,
)
from weft.serve.api.terms import terms_of


@dataclass(slots=True)
class ChatRun:
    """One request on its way: `id` and `created` stand in every part of its answer."""

    request: ChatRequest
    reply: Reply
    id: str = field(default_factory=lambda: f"chatcmpl-{uuid.uuid4().hex}")
    created: int = field(default_factory=lambda: int(time.time()))

    @classmethod
    def begun(cls, agent: ServedAgent, request: ChatRequest) -> "ChatRun":
        """Raises ApiError where the agent cannot take the request."""
        program = agent.deployment.program
        return cls(request, Reply(agent, agent_inputs(program, request.messages), terms_of(program, request)))

    async def completion(self) -> Completion:
        message = self._message(await self.reply.whole())
        choices = [Choice(0, message, self.reply.finish_reason)]
        return Completion(self.id, self.created, self.reply.agent.name, choices, self.reply.usage)

    async def chunks(self) -> AsyncIterator[Chunk]:
        """The role at once, then what is said, then how it ended, then (if wanted) what it cost."""
        yield self._chunk(Delta(role="assistant", content=""))
        async for piece in self.reply.pieces():
            if isinstance(piece, str):
                yield self._chunk(Delta(content=piece))
            elif self._wants_sound:
                yield self._chunk(Delta(audio=self._spoken(piece)))
        if not self._wants_sound and isinstance(self.reply.answer, bytes):
            yield self._chunk(Delta(content=self.reply.words))
        yield self._chunk(Delta(), self.reply.finish_reason)
        if self.request.stream_options and self.request.stream_options.include_usage:
            yield Chunk(self.id, self.created, self.reply.agent.name, [], self.reply.usage)

    def _message(self, answer: object) -> AnswerMessage:
        if not isinstance(answer, bytes):
            return AnswerMessage(str(answer))
        return AnswerMessage(None, audio=self._spoken(answer)) if self._wants_sound else AnswerMessage(self.reply.words)

    def _chunk(self, delta: Delta, finish_reason: str | None = None) -> Chunk:
        return Chunk(self.id, self.created, self.reply.agent.name, [ChunkChoice(delta, finish_reason=finish_reason)])

    @property
    def _wants_sound(self) -> bool:
        return self.request.modalities is None or "audio" in self.request.modalities

    def _spoken(self, wav: bytes) -> Spoken:
        data = base64.b64encode(wav).decode("ascii")
        return Spoken(self.id.replace("chatcmpl", "audio"), data, self.reply.words, self.created)
