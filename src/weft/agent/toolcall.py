"""The one convention between an agent's models and its tools: a reply that is a JSON object is a call of a tool."""

import msgspec

from weft.core.errors import ToolCallError


class ToolCall(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`{"tool": "search", "query": "h100 memory"}`"""

    tool: str
    query: str


def tool_call(reply: str) -> ToolCall | None:
    """The call that a reply makes; None when it is prose."""
    text = reply.strip()
    if not text.startswith("{"):
        return None
    try:
        return msgspec.json.decode(text.encode(), type=ToolCall)
    except msgspec.DecodeError as error:
        raise ToolCallError(
            subject=f"reply {text[:120]!r}",
            problem=f"begins like a tool call but is not one: {error}",
            way_out='a call is {"tool": "…", "query": "…"}; raise max_tokens if it was cut off',
        ) from error
