"""Reading a model's reply: a tool call, plain prose, or a call gone wrong."""

import msgspec

from weft.core.errors import ToolCallError

_SHOWN_CHARACTERS = 120


class ToolCall(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`{"tool": "search", "query": "memory h two hundred"}`"""

    tool: str
    query: str


def tool_call(reply: str) -> ToolCall | None:
    """The call that a reply makes; None for prose. A reply that opens like a call must be one and nothing else."""
    text = reply.strip()
    if not text.startswith("{"):
        return None
    shown = text if len(text) <= _SHOWN_CHARACTERS else text[:_SHOWN_CHARACTERS] + "…"
    try:
        call = msgspec.json.decode(text, type=ToolCall)
    except msgspec.DecodeError as error:
        raise _malformed(shown, str(error)) from error
    if not call.tool.strip() or not call.query.strip():
        raise _malformed(shown, "tool and query must not be empty")
    return call


def _malformed(shown: str, why: str) -> ToolCallError:
    return ToolCallError(
        subject="tool call",
        problem=f"{shown!r} is malformed: {why}",
        way_out='the model must write one object such as {"tool": "search", "query": "…"}',
    )
