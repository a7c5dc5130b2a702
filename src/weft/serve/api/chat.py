"""/v1/chat/completions: a request becomes one agent run for each choice, told whole or as a stream of chunks."""

import base64
import time
from dataclasses import dataclass, field

import msgspec

from weft.runtime.reply_terms import MUST_CALL
from weft.serve.agents import ServedAgent
from weft.serve.api.bill import Bill
from weft.serve.api.conversation import agent_inputs
from weft.serve.api.http import DONE, Sink, event
from weft.serve.api.reply import OnPiece, Reply, all_of, total
from weft.serve.api.schema import (
    AnswerMessage,
    ChatRequest,
    Choice,
    Chunk,
    ChunkChoice,
    Completion,
    Delta,
    Spoken,
    Usage,
)
from weft.serve.api.terms import nth_choice, terms_of
from weft.serve.api.tool_schema import Logprobs, ToolCallDelta
from weft.serve.api.tools import logprobs_of
from weft.serve.hints import NO_HINTS, RunHints
from weft.serve.ids import fresh

encode = msgspec.json.Encoder().encode


@dataclass(slots=True)
class ChatRun:
    """One request on its way: `id` and `created` stand in every part of its answer."""

    request: ChatRequest
    replies: list[Reply]
    id: str = field(default_factory=lambda: f"chatcmpl-{fresh()}")
    created: int = field(default_factory=lambda: int(time.time()))

    @classmethod
    def begun(
        cls, agent: ServedAgent, request: ChatRequest, bill: Bill | None = None, hints: RunHints = NO_HINTS
    ) -> "ChatRun":
        """Raises ApiError where the agent cannot take the request."""
        program, bill = agent.deployment.program, bill or Bill()
        inputs, terms = agent_inputs(program, request.messages), terms_of(program, request)
        choices = [nth_choice(terms, number) for number in range(request.n or 1)]
        return cls(request, [Reply(agent, inputs, each, bill, hints) for each in choices])

    @property
    def usage(self) -> Usage:
        """Of all choices, once they are there."""
        return total([reply.usage for reply in self.replies])

    async def completion(self, on_piece: OnPiece | None = None) -> Completion:
        """`on_piece` hears what is said meanwhile."""
        await all_of([reply.say(on_piece) if on_piece else reply.whole() for reply in self.replies])
        choices = [
            Choice(at, self._message(reply, reply.answer), reply.finish_reason, self._logprobs(reply))
            for at, reply in enumerate(self.replies)
        ]
        return Completion(self.id, self.created, self.replies[0].agent.name, choices, self.usage)

    async def tell(self, sink: Sink) -> None:
        """For each choice the role and the first that is said, then what is said, then how it ended; then (if wanted)
        what all of it cost."""
        await all_of([self._tell(at, reply, sink) for at, reply in enumerate(self.replies)])
        cost = b""
        if self.request.stream_options and self.request.stream_options.include_usage:
            cost = event(Chunk(self.id, self.created, self.replies[0].agent.name, [], self.usage))
        sink.write(cost + DONE)

    async def _tell(self, at: int, reply: Reply, sink: Sink) -> None:
        before, after = self._around_text(at)
        begin, told = self.chunk(at, Delta(role="assistant", content="")), 0
        held, write = MUST_CALL in reply.terms, sink.write

        def on_piece(piece: str | bytes) -> None:
            nonlocal begin, told
            if isinstance(piece, bytes):
                said = self.chunk(at, Delta(audio=self._spoken(reply, piece))) if self._wants_sound else b""
            elif reply.logprobs:
                said = self.chunk(at, Delta(content=piece), logprobs=logprobs_of(reply.logprobs[told:]))
                told = len(reply.logprobs)
            else:
                said = before + encode(piece) + after
            if said and not held:
                write(begin + said if begin else said)
                begin = b""

        await reply.say(on_piece)
        sink.write(begin + self._rest(at, reply, told))

    def _rest(self, at: int, reply: Reply, told: int) -> bytes:
        rest = b""
        if not self._wants_sound and isinstance(reply.answer, bytes):
            rest = self.chunk(at, Delta(content=reply.words))
        calls = [ToolCallDelta(n, call.id, call.function) for n, call in enumerate(reply.tool_calls)]
        if calls:
            rest += self.chunk(at, Delta(tool_calls=calls))
        more = logprobs_of(reply.logprobs[told:]) if reply.logprobs[told:] else None
        return rest + self.chunk(at, Delta(), reply.finish_reason, more)

    def _message(self, reply: Reply, answer: object) -> AnswerMessage:
        if reply.tool_calls:
            forced = MUST_CALL in reply.terms
            return AnswerMessage(None if forced else str(answer) or None, tool_calls=reply.tool_calls)
        if not isinstance(answer, bytes):
            return AnswerMessage(str(answer))
        return (
            AnswerMessage(None, audio=self._spoken(reply, answer)) if self._wants_sound else AnswerMessage(reply.words)
        )

    def _logprobs(self, reply: Reply) -> Logprobs | None:
        return logprobs_of(reply.logprobs) if self.request.logprobs else None

    def chunk(self, at: int, delta: Delta, finish_reason: str | None = None, logprobs: Logprobs | None = None) -> bytes:
        choice = ChunkChoice(delta, at, finish_reason, logprobs)
        return event(Chunk(self.id, self.created, self.replies[0].agent.name, [choice]))

    def _around_text(self, at: int) -> tuple[bytes, bytes]:
        """What stands around the text of an event: the same for each, so it is written once."""
        before, empty, after = self.chunk(at, Delta(content="")).partition(b'"content":""')
        return before + empty[:-2], after

    @property
    def _wants_sound(self) -> bool:
        return self.request.modalities is None or "audio" in self.request.modalities

    def _spoken(self, reply: Reply, wav: bytes) -> Spoken:
        data = base64.b64encode(wav).decode("ascii")
        return Spoken(self.id.replace("chatcmpl", "audio"), data, reply.words, self.created)
