"""/v1/chat/completions: a request becomes one agent run, told whole or as a stream of chunks."""

import base64
import time
from dataclasses import dataclass, field

import msgspec

from weft.serve.agents import ServedAgent
from weft.serve.api.conversation import agent_inputs
from weft.serve.api.http import DONE, Sink, event
from weft.serve.api.ids import fresh
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

encode = msgspec.json.Encoder().encode


@dataclass(slots=True)
class ChatRun:
    """One request on its way: `id` and `created` stand in every part of its answer."""

    request: ChatRequest
    reply: Reply
    id: str = field(default_factory=lambda: f"chatcmpl-{fresh()}")
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

    async def tell(self, sink: Sink) -> None:
        """The role and the first that is said, then what is said, then how it ended, then (if wanted) what it cost."""
        before, after = self._around_text()
        begin = event(self._chunk(Delta(role="assistant", content="")))

        def on_piece(piece: str | bytes) -> None:
            nonlocal begin
            if isinstance(piece, str):
                sink.write(begin + before + encode(piece) + after)
            elif self._wants_sound:
                sink.write(begin + event(self._chunk(Delta(audio=self._spoken(piece)))))
            begin = b"" if sink.started else begin

        await self.reply.say(on_piece)
        rest = [begin]
        if not self._wants_sound and isinstance(self.reply.answer, bytes):
            rest.append(before + encode(self.reply.words) + after)
        rest.append(event(self._chunk(Delta(), self.reply.finish_reason)))
        if self.request.stream_options and self.request.stream_options.include_usage:
            rest.append(event(Chunk(self.id, self.created, self.reply.agent.name, [], self.reply.usage)))
        sink.write(b"".join((*rest, DONE)))

    def _message(self, answer: object) -> AnswerMessage:
        if not isinstance(answer, bytes):
            return AnswerMessage(str(answer))
        return AnswerMessage(None, audio=self._spoken(answer)) if self._wants_sound else AnswerMessage(self.reply.words)

    def _chunk(self, delta: Delta, finish_reason: str | None = None) -> Chunk:
        return Chunk(self.id, self.created, self.reply.agent.name, [ChunkChoice(delta, finish_reason=finish_reason)])

    def _around_text(self) -> tuple[bytes, bytes]:
        """What stands around the text of an event: the same for each, so it is written once."""
        before, empty, after = event(self._chunk(Delta(content=""))).partition(b'"content":""')
        return before + empty[:-2], after

    @property
    def _wants_sound(self) -> bool:
        return self.request.modalities is None or "audio" in self.request.modalities

    def _spoken(self, wav: bytes) -> Spoken:
        data = base64.b64encode(wav).decode("ascii")
        return Spoken(self.id.replace("chatcmpl", "audio"), data, self.reply.words, self.created)
