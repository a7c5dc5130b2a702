"""What every tool does, in its own process; and how a value becomes the arguments of a tool that has several."""

from collections.abc import Mapping
from typing import Any, Protocol, cast

import msgspec

from weft.core.errors import ToolCallError
from weft.runtime.values import Json, Told, as_text


class Tool(Protocol):
    async def call(self, value: Told) -> Told: ...


def arguments_of(value: Told, tool: str) -> dict[str, Any] | None:
    """The JSON object that a value is or spells; of a tool call as models write it (`{"tool": …, "arguments": {…}}`)
    its arguments. None for anything else."""
    found = value.value if isinstance(value, Json) else _parsed(value)
    if not isinstance(found, dict):
        return None
    call = cast("Mapping[str, Any]", found)
    named = call.get("tool", call.get("name"))
    if named is None:
        return dict(call)
    if named != tool:
        raise ToolCallError(
            subject=f"tool {tool!r}", problem=f"was sent a call of {named!r}", way_out="choose the branch by the call"
        )
    inner = call.get("arguments", {key: each for key, each in call.items() if key not in ("tool", "name")})
    return dict(cast("Mapping[str, Any]", inner)) if isinstance(inner, dict) else None


def _parsed(value: Told) -> object:
    text = (as_text(value) or "").strip()
    if not text.startswith("{"):
        return None
    try:
        return msgspec.json.decode(text)
    except msgspec.DecodeError:
        return None


def wrong_arguments(tool: str, problem: str, names: list[str]) -> ToolCallError:
    return ToolCallError(
        subject=f"tool {tool!r}", problem=problem, way_out=f"give a JSON object with {', '.join(names) or 'no fields'}"
    )
