"""/v1/responses: the same agent run in the newer of OpenAI's two forms. Nothing is stored: a response stands alone."""

import itertools
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any, Literal

from msgspec import Struct

from weft.serve.agents import ServedAgent
from weft.serve.api.conversation import agent_inputs
from weft.serve.api.ids import fresh
from weft.serve.api.reply import Reply
from weft.serve.api.schema import ChatMessage, TextPart


class InputText(Struct, frozen=True, tag="input_text"):
    text: str


class OutputText(Struct, frozen=True, tag="output_text"):
    text: str


class InputMessage(Struct, frozen=True):
    role: Literal["system", "developer", "user", "assistant"]
    content: str | list[InputText | OutputText]
    type: Literal["message"] = "message"

    def as_chat(self) -> ChatMessage:
        parts = self.content if isinstance(self.content, list) else [InputText(self.content)]
        return ChatMessage(self.role, [TextPart(part.text) for part in parts])


class ResponseRequest(Struct, frozen=True, forbid_unknown_fields=True):
    """What /v1/responses takes."""

    model: str
    input: str | list[InputMessage]
    instructions: str | None = None
    stream: bool = False
    store: bool | None = None
    metadata: dict[str, str] | None = None
    user: str | None = None

    @property
    def messages(self) -> list[ChatMessage]:
        said = [ChatMessage("user", self.input)] if isinstance(self.input, str) else [i.as_chat() for i in self.input]
        return [ChatMessage("system", self.instructions), *said] if self.instructions else said


Event = dict[str, Any]
"""One server-sent event, as the client's own types spell it."""


@dataclass(slots=True)
class ResponseRun:
    request: ResponseRequest
    reply: Reply
    id: str = field(default_factory=lambda: f"resp_{fresh()}")
    created: int = field(default_factory=lambda: int(time.time()))

    @classmethod
    def begun(cls, agent: ServedAgent, request: ResponseRequest) -> "ResponseRun":
        """Raises ApiError where the agent cannot take the request."""
        return cls(request, Reply(agent, agent_inputs(agent.deployment.program, request.messages)))

    async def response(self) -> Event:
        answer = await self.reply.whole()
        return self._state("completed", self.reply.words if isinstance(answer, bytes) else str(answer))

    async def events(self) -> AsyncIterator[Event]:
        numbers = itertools.count()

        def event(kind: str, **fields: object) -> Event:
            return {"type": f"response.{kind}", "sequence_number": next(numbers), **fields}

        place: dict[str, object] = {"item_id": self._item_id, "output_index": 0, "content_index": 0}
        yield event("created", response=self._state("in_progress"))
        yield event("output_item.added", output_index=0, item=self._item("in_progress", []))
        yield event("content_part.added", part=_part(""), **place)
        said = ""
        async for piece in self.reply.pieces():
            if isinstance(piece, str):
                said += piece
                yield event("output_text.delta", delta=piece, logprobs=[], **place)
        if not said:  # a spoken answer: its words
            said = self.reply.words
            yield event("output_text.delta", delta=said, logprobs=[], **place)
        yield event("output_text.done", text=said, logprobs=[], **place)
        yield event("content_part.done", part=_part(said), **place)
        yield event("output_item.done", output_index=0, item=self._item("completed", [_part(said)]))
        yield event("completed", response=self._state("completed", said))

    def _state(self, status: str, said: str | None = None) -> Event:
        return {
            "id": self.id,
            "object": "response",
            "created_at": self.created,
            "status": status,
            "error": None,
            "incomplete_details": None,
            "instructions": self.request.instructions,
            "metadata": self.request.metadata or {},
            "model": self.reply.agent.name,
            "output": [] if said is None else [self._item("completed", [_part(said)])],
            "parallel_tool_calls": False,
            "tool_choice": "none",
            "tools": [],
            "usage": None if said is None else self._usage(),
        }

    def _item(self, status: str, content: list[Event]) -> Event:
        return {"id": self._item_id, "type": "message", "role": "assistant", "status": status, "content": content}

    def _usage(self) -> Event:
        usage = self.reply.usage
        return {
            "input_tokens": usage.prompt_tokens,
            "input_tokens_details": {"cached_tokens": 0},
            "output_tokens": usage.completion_tokens,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": usage.total_tokens,
            "usd": usage.usd,
            "steps": usage.steps,
        }

    @property
    def _item_id(self) -> str:
        return self.id.replace("resp", "msg")


def _part(text: str) -> Event:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}
