"""A response as /v1/responses tells it: how it begins, what it comes to, its items and its usage."""

from collections.abc import Sequence
from typing import Any

import msgspec

from weft.serve.api.response_schema import ResponseRequest
from weft.serve.api.schema import Usage
from weft.serve.api.tool_schema import Logprobs, ToolCallPart
from weft.serve.ids import fresh

Json = dict[str, Any]
ID = "resp_"


def fresh_id() -> str:
    return f"{ID}{fresh()}"


def begun(request: ResponseRequest, id: str, created: int, model: str) -> Json:
    """What was asked is told in every state of it."""
    return {
        "id": id,
        "object": "response",
        "created_at": created,
        "status": "queued" if request.background else "in_progress",
        "background": bool(request.background),
        "error": None,
        "incomplete_details": None,
        "instructions": request.instructions,
        "max_output_tokens": request.max_output_tokens,
        "metadata": request.metadata or {},
        "model": model,
        "output": [],
        "parallel_tool_calls": request.parallel_tool_calls is not False,
        "previous_response_id": request.previous_response_id,
        "service_tier": "default",
        "store": request.kept,
        "temperature": request.temperature,
        "text": msgspec.to_builtins(request.text) if request.text and request.text.format else _PLAIN,
        "tool_choice": msgspec.to_builtins(request.tool_choice or ("auto" if request.tools else "none")),
        "tools": msgspec.to_builtins(request.tools or []),
        "top_logprobs": request.top_logprobs or 0,
        "top_p": request.top_p,
        "truncation": "disabled",
        "usage": None,
        "user": request.user,
    }


_PLAIN: Json = {"format": {"type": "text"}}


def ended(response: Json, items: Sequence[Json], usage: Usage, *, cut: bool) -> Json:
    """`cut`: at the most tokens that were asked for."""
    reason = {"reason": "max_output_tokens"} if cut else None
    status = "incomplete" if cut else "completed"
    return {**response, "status": status, "incomplete_details": reason, "output": [*items], "usage": _usage(usage)}


def failed(response: Json, message: str) -> Json:
    return {**response, "status": "failed", "error": {"code": "server_error", "message": message}}


def items_of(response: Json, said: str, calls: Sequence[ToolCallPart], logprobs: Logprobs | None = None) -> list[Json]:
    """What was said, if anything was, and the calls."""
    said_item = [message(response, "completed", [part(said, logprobs)])] if said or not calls else []
    return said_item + [_call(each) for each in calls]


def message(response: Json, status: str, content: list[Json]) -> Json:
    id = response["id"].replace(ID, "msg_", 1)
    return {"id": id, "type": "message", "role": "assistant", "status": status, "content": content}


def part(text: str, logprobs: Logprobs | None = None) -> Json:
    told: list[Json] = msgspec.to_builtins(logprobs.content) if logprobs else []
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": told}


def _call(call: ToolCallPart) -> Json:
    told = {"call_id": call.id, "name": call.function.name, "arguments": call.function.arguments}
    return {"type": "function_call", "id": call.id.replace("call", "fc", 1), "status": "completed", **told}


def _usage(usage: Usage) -> Json:
    return {
        "input_tokens": usage.prompt_tokens,
        "input_tokens_details": {"cached_tokens": usage.prompt_tokens_details.cached_tokens},
        "output_tokens": usage.completion_tokens,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": usage.total_tokens,
        "usd": usage.usd,
        "steps": msgspec.to_builtins(usage.steps),
    }
