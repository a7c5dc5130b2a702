"""/v1/responses: the same agent run in the newer of OpenAI's two forms. Nothing is stored: a response stands alone."""

import itertools
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from typing import Any

import msgspec

from weft.runtime.reply_terms import MUST_CALL
from weft.serve.agents import ServedAgent
from weft.serve.api.bill import Bill
from weft.serve.api.chat import ChatRun
from weft.serve.api.errors import invalid
from weft.serve.api.reply import Reply
from weft.serve.api.response_schema import ResponseRequest
from weft.serve.api.tool_schema import ToolCallPart
from weft.serve.hints import NO_HINTS, RunHints
from weft.serve.ids import fresh

Event = dict[str, Any]
"""One server-sent event, as the client's own types spell it."""


@dataclass(slots=True)
class ResponseRun:
    request: ResponseRequest
    reply: Reply
    id: str = field(default_factory=lambda: f"resp_{fresh()}")
    created: int = field(default_factory=lambda: int(time.time()))

    @classmethod
    def begun(
        cls, agent: ServedAgent, request: ResponseRequest, bill: Bill, hints: RunHints = NO_HINTS
    ) -> "ResponseRun":
        """Raises ApiError where the agent cannot take the request."""
        try:
            chat = request.as_chat()
        except msgspec.ValidationError as error:
            raise invalid(f"input: {error}", "input") from None
        return cls(request, ChatRun.begun(agent, chat, bill, hints).replies[0])

    async def response(self) -> Event:
        answer = await self.reply.whole()
        return self._state(self._status, self._items(self.reply.words if isinstance(answer, bytes) else str(answer)))

    async def events(self) -> AsyncIterator[Event]:
        numbers = itertools.count()

        def event(kind: str, **fields: object) -> Event:
            return {"type": f"response.{kind}", "sequence_number": next(numbers), **fields}

        place: dict[str, object] = {"item_id": self._item_id, "output_index": 0, "content_index": 0}
        yield event("created", response=self._state("in_progress"))
        said = ""
        async for piece in self.reply.pieces():
            if isinstance(piece, str) and not self._must_call:
                if not said:
                    for begin in self._begin_text(place):
                        yield event(**begin)
                said += piece
                yield event("output_text.delta", delta=piece, logprobs=[], **place)
        calls = self.reply.tool_calls
        if not said and not calls:  # a spoken answer: its words
            said = self.reply.words
            for begin in self._begin_text(place):
                yield event(**begin)
            yield event("output_text.delta", delta=said, logprobs=[], **place)
        items = self._items(said)
        if said or not calls:
            yield event("output_text.done", text=said, logprobs=[], **place)
            yield event("content_part.done", part=_part(said), **place)
            yield event("output_item.done", output_index=0, item=items[0])
        for told in _calls_told(items):
            yield event(**told)
        status = self._status
        yield event(status, response=self._state(status, items))

    def _begin_text(self, place: dict[str, object]) -> Iterator[dict[str, Any]]:
        yield {"kind": "output_item.added", "output_index": 0, "item": self._message("in_progress", [])}
        yield {"kind": "content_part.added", "part": _part(""), **place}

    @property
    def _must_call(self) -> bool:
        return MUST_CALL in self.reply.terms

    @property
    def _status(self) -> str:
        return "incomplete" if self.reply.finish_reason == "length" else "completed"

    def _items(self, said: str) -> list[Event]:
        """What was said, if anything was, and the calls."""
        calls = self.reply.tool_calls
        text = "" if calls and self._must_call else said
        message = [] if calls and not text else [self._message("completed", [_part(text)])]
        return message + [_call_item(call, "completed") for call in calls]

    def _state(self, status: str, items: list[Event] | None = None) -> Event:
        request, cut = self.request, status == "incomplete"
        return {
            "id": self.id,
            "object": "response",
            "created_at": self.created,
            "status": status,
            "error": None,
            "incomplete_details": {"reason": "max_output_tokens"} if cut else None,
            "instructions": request.instructions,
            "metadata": request.metadata or {},
            "model": self.reply.agent.name,
            "output": items or [],
            "parallel_tool_calls": True,
            "temperature": request.temperature,
            "tool_choice": request.tool_choice or ("auto" if request.tools else "none"),
            "tools": request.tools or [],
            "top_p": request.top_p,
            "usage": None if items is None else self._usage(),
        }

    def _message(self, status: str, content: list[Event]) -> Event:
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


def _calls_told(items: list[Event]) -> Iterator[dict[str, Any]]:
    """A call is told whole: its arguments are one delta."""
    for at, item in enumerate(items):
        if item["type"] != "function_call":
            continue
        place = {"item_id": item["id"], "output_index": at}
        begun = {**item, "status": "in_progress", "arguments": ""}
        yield {"kind": "output_item.added", "output_index": at, "item": begun}
        yield {"kind": "function_call_arguments.delta", "delta": item["arguments"], **place}
        done = {"arguments": item["arguments"], "name": item["name"]}
        yield {"kind": "function_call_arguments.done", **done, **place}
        yield {"kind": "output_item.done", "output_index": at, "item": item}


def _call_item(call: ToolCallPart, status: str) -> Event:
    told = {"call_id": call.id, "name": call.function.name, "arguments": call.function.arguments}
    return {"type": "function_call", "id": call.id.replace("call", "fc"), "status": status, **told}


def _part(text: str) -> Event:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}
