# pyright: standard
"""A conversation as the state that a graph begins with, and the state that it ends with as a reply."""

import contextlib
import json
from collections.abc import Mapping
from typing import Any

import msgspec

from weft.core.errors import InputError


def inputs_of(graph: Any) -> list[str]:
    names = graph.input_channels
    listed = list(names) if isinstance(names, list | tuple) else [names]
    if listed == ["__start__"]:
        schema = getattr(getattr(graph, "builder", None), "input_schema", None)
        listed = list(getattr(schema, "__annotations__", {}) or getattr(schema, "model_fields", {}))
        listed = listed or sorted({key for key in graph.channels if not key.startswith(("__", "branch:"))})
    return listed


def state_of(messages: list[dict[str, Any]], takes: list[str]) -> Any:
    """The conversation for a graph over messages. Else what the user said last: the inputs as a JSON object, or the one
    input that there is."""
    if "messages" in takes:
        return {"messages": messages}
    said = str(messages[-1]["content"])
    with contextlib.suppress(ValueError):
        given = json.loads(said)
        if isinstance(given, dict):
            if unknown := sorted(given.keys() - set(takes)):
                raise _wrong(f"has no input {unknown[0]!r}", takes)
            return given
    if not takes:
        return said
    if len(takes) == 1:
        return {takes[0]: said}
    raise _wrong("has several inputs, and was given a text", takes)


def _wrong(problem: str, takes: list[str]) -> InputError:
    way_out = f"write a JSON object with some of {', '.join(takes)}"
    return InputError(subject="the graph", problem=problem, way_out=way_out)


def text_of(state: Any) -> str:
    """The last message; else the whole state as JSON."""
    messages = state.get("messages") if isinstance(state, Mapping) else None
    if messages:
        return str(getattr(messages[-1], "text", messages[-1]))
    return state if isinstance(state, str) else json.dumps(plain(state))


def plain(state: Any) -> Any:
    """As JSON has it; what JSON does not know as text."""
    return msgspec.to_builtins(state, enc_hook=str)
