"""/v1/completions, OpenAI's older form: each prompt is what a user says, and the agent's answer goes on after it."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Annotated, Literal

import msgspec
from msgspec import Struct

from weft.runtime.messages import TokenLogprob
from weft.serve.agents import ServedAgent
from weft.serve.api.bill import Bill
from weft.serve.api.chat import ChatRun
from weft.serve.api.errors import invalid
from weft.serve.api.http import DONE, Sink, event
from weft.serve.api.reply import Reply, all_of, total
from weft.serve.api.schema import MOST_CHOICES, ChatMessage, ChatRequest, PositiveInt, Seed, StreamOptions, Usage
from weft.serve.hints import NO_HINTS, RunHints
from weft.serve.ids import fresh

MOST_PROMPTS = 64


class CompletionRequest(Struct, frozen=True, forbid_unknown_fields=True):
    """What /v1/completions takes."""

    model: str
    prompt: str | list[str]
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    n: Annotated[int, msgspec.Meta(ge=1, le=MOST_CHOICES)] | None = None
    user: str | None = None
    echo: Literal[False] | None = None
    best_of: Literal[1] | None = None
    max_tokens: PositiveInt | None = None
    temperature: float | None = None
    top_p: float | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    seed: Seed | None = None
    stop: str | list[str] | None = None
    logprobs: Annotated[int, msgspec.Meta(ge=0, le=20)] | None = None

    def as_chat(self, prompt: str) -> ChatRequest:
        return ChatRequest(
            model=self.model,
            messages=[ChatMessage("user", prompt)],
            n=self.n,
            max_tokens=self.max_tokens,
            temperature=self.temperature,
            top_p=self.top_p,
            presence_penalty=self.presence_penalty,
            frequency_penalty=self.frequency_penalty,
            seed=self.seed,
            stop=self.stop,
            logprobs=None if self.logprobs is None else True,
            top_logprobs=self.logprobs,
        )


class TextLogprobs(Struct, frozen=True):
    tokens: list[str]
    token_logprobs: list[float]
    top_logprobs: list[dict[str, float]]
    text_offset: list[int]


class TextChoice(Struct, frozen=True):
    index: int
    text: str
    finish_reason: str | None = None
    logprobs: TextLogprobs | None = None


class TextCompletion(Struct, frozen=True):
    id: str
    created: int
    model: str
    choices: list[TextChoice]
    usage: Usage | None = None
    object: str = "text_completion"


@dataclass(slots=True)
class CompletionRun:
    request: CompletionRequest
    replies: list[Reply]
    id: str = field(default_factory=lambda: f"cmpl-{fresh()}")
    created: int = field(default_factory=lambda: int(time.time()))

    @classmethod
    def begun(
        cls, agent: ServedAgent, request: CompletionRequest, bill: Bill, hints: RunHints = NO_HINTS
    ) -> "CompletionRun":
        """Raises ApiError where the agent cannot take the request."""
        prompts = [request.prompt] if isinstance(request.prompt, str) else request.prompt
        if not prompts or len(prompts) > MOST_PROMPTS:
            raise invalid(f"give from 1 to {MOST_PROMPTS} prompts, not {len(prompts)}", "prompt")
        if not all(prompts):
            raise invalid("a prompt is empty", "prompt")
        runs = [ChatRun.begun(agent, request.as_chat(prompt), bill, hints) for prompt in prompts]
        return cls(request, [reply for run in runs for reply in run.replies])

    @property
    def usage(self) -> Usage:
        return total([reply.usage for reply in self.replies])

    async def completion(self) -> TextCompletion:
        await all_of([reply.whole() for reply in self.replies])
        choices = [
            TextChoice(at, reply.words, reply.finish_reason, self._logprobs(reply.logprobs, 0))
            for at, reply in enumerate(self.replies)
        ]
        return TextCompletion(self.id, self.created, self.request.model, choices, self.usage)

    async def tell(self, sink: Sink) -> None:
        await all_of([self._tell(at, reply, sink) for at, reply in enumerate(self.replies)])
        cost = b""
        if self.request.stream_options and self.request.stream_options.include_usage:
            cost = event(TextCompletion(self.id, self.created, self.request.model, [], self.usage))
        sink.write(cost + DONE)

    async def _tell(self, at: int, reply: Reply, sink: Sink) -> None:
        told = said = 0

        def on_piece(piece: str | bytes) -> None:
            nonlocal told, said
            if isinstance(piece, str):
                logprobs = self._logprobs(reply.logprobs[told:], said)
                told, said = len(reply.logprobs), said + len(piece)
                sink.write(self._chunk(TextChoice(at, piece, None, logprobs)))

        await reply.say(on_piece)
        rest = self._logprobs(reply.logprobs[told:], said) if reply.logprobs[told:] else None
        text = "" if said else reply.words
        sink.write(self._chunk(TextChoice(at, text, reply.finish_reason, rest)))

    def _chunk(self, choice: TextChoice) -> bytes:
        return event(TextCompletion(self.id, self.created, self.request.model, [choice]))

    def _logprobs(self, tokens: Sequence[Sequence[TokenLogprob]], offset: int) -> TextLogprobs | None:
        if self.request.logprobs is None:
            return None
        own = [each[0] for each in tokens]
        offsets = list(accumulate((len(each.text) for each in own[:-1]), initial=offset)) if own else []
        top = [{other.text: other.logprob for other in each[1:]} for each in tokens]
        return TextLogprobs([each.text for each in own], [each.logprob for each in own], top, offsets)
