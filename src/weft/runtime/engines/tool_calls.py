"""Tool calls in a reply, in the three notations that open models are trained on. Pure functions of the text.

- Hermes, Qwen: `<tool_call>{"name": …, "arguments": {…}}</tool_call>`, any number among other text
- Mistral: `[TOOL_CALLS][{"name": …, "arguments": {…}}, …]`, or `[TOOL_CALLS]name{…}` once or more
- Llama 3: the reply is `{"name": …, "parameters": {…}}`, several separated by `;`, perhaps after `<|python_tag|>`

What does not parse is text: a reply that only looks like a call must not lose a word.
"""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, cast

_HERMES = re.compile(r"<tool_call>\s*(.*?)\s*(?:</tool_call>|$)", re.DOTALL)
_MISTRAL = "[TOOL_CALLS]"
_MISTRAL_NAME = re.compile(r"\s*([\w.-]+)\s*(?:\[CALL_ID\][\w-]*\s*)?(?:\[ARGS\]\s*)?(?=\{)")
_LLAMA = "<|python_tag|>"
_decoder = json.JSONDecoder()


@dataclass(frozen=True, slots=True)
class ToolCall:
    name: str
    arguments: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class ParsedReply:
    """`text` is what the reply says beside its calls."""

    text: str
    calls: tuple[ToolCall, ...] = ()


def parse_hermes(reply: str) -> ParsedReply:
    calls: list[ToolCall] = []

    def take(found: re.Match[str]) -> str:
        call = _call_in(found[1])
        if call is None:
            return found[0]
        calls.append(call)
        return ""

    text = _HERMES.sub(take, reply)
    return ParsedReply(text.strip(), tuple(calls)) if calls else ParsedReply(reply)


def parse_mistral(reply: str) -> ParsedReply:
    text, mark, rest = reply.partition(_MISTRAL)
    if not mark:
        return ParsedReply(reply)
    calls = _listed(rest) if rest.lstrip().startswith("[") else _named(rest)
    return ParsedReply(text.strip(), calls) if calls else ParsedReply(reply)


def parse_llama3(reply: str) -> ParsedReply:
    text, mark, rest = reply.partition(_LLAMA)
    if not mark:
        text, rest = "", reply
    calls: list[ToolCall] = []
    at = _skip(rest, 0)
    while at < len(rest):
        value, at = _decode(rest, at)
        call = _call(value)
        if call is None:
            return ParsedReply(reply)
        calls.append(call)
        at = _skip(rest, at)
    return ParsedReply(text.strip(), tuple(calls)) if calls else ParsedReply(reply)


PARSERS: dict[str, Callable[[str], ParsedReply]] = {
    "hermes": parse_hermes,
    "mistral": parse_mistral,
    "llama3": parse_llama3,
}

MARKS = {"hermes": "<tool_call>", "mistral": _MISTRAL, "llama3": _LLAMA}
"""What a call begins with; in llama3's notation it may also be the whole reply."""
MARKING = (*MARKS.values(), "</tool_call>", "[ARGS]", "[CALL_ID]")
"""All that is part of a notation, and may be a token that readers otherwise do not see."""


class CallText:
    """Takes a reply piece by piece, gives out what is certain to stand before any call."""

    def __init__(self, notation: str) -> None:
        self._notation = notation
        self._held = ""
        self._began = False

    def push(self, piece: str) -> str:
        self._held += piece
        at = self._first_doubt()
        given, self._held = self._held[:at], self._held[at:]
        self._began = self._began or bool(given.strip())
        return given

    def finish(self) -> ParsedReply:
        """What was held back: the calls, and what turned out to be none."""
        held, self._held = self._held, ""
        return PARSERS[self._notation](held)

    def _first_doubt(self) -> int:
        text, mark = self._held, MARKS[self._notation]
        if self._notation == "llama3" and not self._began and text.lstrip()[:1] in ("", "{"):
            return 0
        found = text.find(mark)
        if found >= 0:
            return found
        kept = next((n for n in range(min(len(mark), len(text)), 0, -1) if mark.startswith(text[-n:])), 0)
        return len(text) - kept


def _listed(text: str) -> tuple[ToolCall, ...]:
    values, _ = _decode(text, _skip(text, 0))
    if not isinstance(values, list):
        return ()
    calls = [_call(value) for value in cast("list[object]", values)]
    return tuple(call for call in calls if call is not None) if None not in calls else ()


def _named(text: str) -> tuple[ToolCall, ...]:
    calls: list[ToolCall] = []
    for part in text.split(_MISTRAL):
        found = _MISTRAL_NAME.match(part)
        arguments, _ = _decode(part, found.end()) if found else (None, 0)
        if found is None or not isinstance(arguments, dict):
            return ()
        calls.append(ToolCall(found[1], cast("dict[str, Any]", arguments)))
    return tuple(calls)


def _call_in(text: str) -> ToolCall | None:
    value, end = _decode(text, 0)
    return _call(value) if end == len(text) else None


def _call(value: object) -> ToolCall | None:
    """Arguments may be an object, or a text that holds one."""
    if not isinstance(value, dict):
        return None
    fields = cast("dict[str, object]", value)
    name = fields.get("name")
    arguments = fields.get("arguments", fields.get("parameters", {}))
    if isinstance(arguments, str):
        arguments, _ = _decode(arguments, 0)
    if not isinstance(name, str) or not name or not isinstance(arguments, dict):
        return None
    return ToolCall(name, cast("dict[str, Any]", arguments))


def _decode(text: str, at: int) -> tuple[object, int]:
    """A JSON value and where it ends; nothing and the end of the text if there is none."""
    try:
        return _decoder.raw_decode(text, at)
    except (ValueError, RecursionError):
        return None, len(text)


def _skip(text: str, at: int) -> int:
    while at < len(text) and (text[at].isspace() or text[at] == ";"):
        at += 1
    return at
