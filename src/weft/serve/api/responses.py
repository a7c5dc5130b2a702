"""/v1/responses: the same agent run in the newer of OpenAI's two forms, told whole or as a stream of typed events."""

import itertools
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from weft.runtime.reply_terms import MUST_CALL
from weft.serve.agents import ServedAgent
from weft.serve.api.bill import Bill
from weft.serve.api.chat import ChatRun
from weft.serve.api.reply import Reply
from weft.serve.api.response_items import Item
from weft.serve.api.response_schema import ResponseRequest
from weft.serve.api.response_state import Json, begun, ended, fresh_id, items_of, message, part
from weft.serve.api.tool_schema import Logprobs
from weft.serve.api.tools import logprobs_of
from weft.serve.hints import NO_HINTS, RunHints

Keep = Callable[[Json], Awaitable[Json]]
"""Takes the response that is to be kept; gives it as it is told, which says whether it was."""


async def nobody_keeps(response: Json) -> Json:
    return response


@dataclass(slots=True)
class ResponseRun:
    request: ResponseRequest
    reply: Reply
    keep: Keep = nobody_keeps
    id: str = field(default_factory=fresh_id)
    created: int = field(default_factory=lambda: int(time.time()))
    begun: Json = field(init=False)

    def __post_init__(self) -> None:
        self.begun = begun(self.request, self.id, self.created, self.reply.agent.name)

    @classmethod
    def of(
        cls,
        agent: ServedAgent,
        request: ResponseRequest,
        items: Sequence[Item],
        bill: Bill,
        hints: RunHints = NO_HINTS,
    ) -> "ResponseRun":
        """`items`: the whole conversation. Raises ApiError where the agent cannot take the request."""
        return cls(request, ChatRun.begun(agent, request.as_chat(items), bill, hints).replies[0])

    async def response(self) -> Json:
        answer = await self.reply.whole()
        return await self._ended(self._items(self.reply.words if isinstance(answer, bytes) else str(answer)))

    async def events(self) -> AsyncIterator[Json]:
        numbers = itertools.count()

        def event(kind: str, **fields: object) -> Json:
            return {"type": f"response.{kind}", "sequence_number": next(numbers), **fields}

        place: dict[str, object] = {"item_id": message(self.begun, "", [])["id"], "output_index": 0, "content_index": 0}
        yield event("created", response=self.begun)
        yield event("in_progress", response=self.begun)
        said, told = "", 0
        async for piece in self.reply.pieces():
            if isinstance(piece, str) and not self._must_call:
                if not said:
                    for begin in self._begin_text(place):
                        yield event(**begin)
                said += piece
                yield event("output_text.delta", delta=piece, logprobs=self._since(told), **place)
                told = len(self.reply.logprobs)
        calls = self.reply.tool_calls
        if not said and not calls:  # a spoken answer: its words
            said = self.reply.words
            for begin in self._begin_text(place):
                yield event(**begin)
            yield event("output_text.delta", delta=said, logprobs=[], **place)
        items = self._items(said)
        for each in told_at_the_end(items, place):
            yield event(**each)
        response = await self._ended(items)
        yield event(response["status"], response=response)

    def _begin_text(self, place: dict[str, object]) -> Iterator[dict[str, Any]]:
        yield {"kind": "output_item.added", "output_index": 0, "item": message(self.begun, "in_progress", [])}
        yield {"kind": "content_part.added", "part": part(""), **place}

    def _since(self, told: int) -> list[Any]:
        return part("", logprobs_of(self.reply.logprobs[told:]))["logprobs"] if self.request.logprobs else []

    @property
    def _must_call(self) -> bool:
        return MUST_CALL in self.reply.terms

    async def _ended(self, items: list[Json]) -> Json:
        cut = self.reply.finish_reason == "length"
        return await self.keep(ended(self.begun, items, self.reply.usage, cut=cut))

    def _items(self, said: str) -> list[Json]:
        calls = self.reply.tool_calls
        return items_of(self.begun, "" if calls and self._must_call else said, calls, self._logprobs)

    @property
    def _logprobs(self) -> Logprobs | None:
        return logprobs_of(self.reply.logprobs) if self.request.logprobs else None


def told_at_the_end(items: list[Json], place: dict[str, object]) -> Iterator[dict[str, Any]]:
    """A call is told whole: its arguments are one delta."""
    for at, item in enumerate(items):
        if item["type"] == "message":
            (said,) = item["content"]
            yield {"kind": "output_text.done", "text": said["text"], "logprobs": said["logprobs"], **place}
            yield {"kind": "content_part.done", "part": said, **place}
        else:
            told = {"item_id": item["id"], "output_index": at}
            arguments = item["arguments"]
            item_begun = {**item, "status": "in_progress", "arguments": ""}
            yield {"kind": "output_item.added", "output_index": at, "item": item_begun}
            yield {"kind": "function_call_arguments.delta", "delta": arguments, **told}
            yield {"kind": "function_call_arguments.done", "arguments": arguments, "name": item["name"], **told}
        yield {"kind": "output_item.done", "output_index": at, "item": item}
