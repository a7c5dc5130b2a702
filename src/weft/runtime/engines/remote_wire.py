"""What a chat with an OpenAI-compatible server looks like on the wire: the body that asks, the events that answer.

A call's attributes (runtime/reply_terms.py) become the fields of the API that mean the same; what the caller did not
say is not sent. No I/O.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import msgspec

from weft.core.message import Message
from weft.runtime.messages import UNKNOWN_TOKEN, Ending, TokenLogprob, ToolCall
from weft.runtime.remote_spec import Usage
from weft.runtime.reply_terms import DRAWN, MUST_CALL, Attributes, max_tokens_of

ANY_JSON: Mapping[str, Any] = {}


class Piece(msgspec.Struct, frozen=True):
    """`logprobs`: for each token in it its own, then the best alternatives', where they were asked for."""

    text: str
    logprobs: tuple[tuple[TokenLogprob, ...], ...] = ()


class End(msgspec.Struct, frozen=True):
    usage: Usage
    ending: Ending


class _Function(msgspec.Struct, frozen=True):
    name: str | None = None
    arguments: str | None = None


class _Call(msgspec.Struct, frozen=True):
    index: int = 0
    function: _Function = _Function()


class _Delta(msgspec.Struct, frozen=True):
    content: str | None = None
    tool_calls: tuple[_Call, ...] | None = None


class _Likely(msgspec.Struct, frozen=True):
    token: str
    logprob: float

    def told(self) -> TokenLogprob:
        return TokenLogprob(UNKNOWN_TOKEN, self.token, self.logprob)


class _Token(_Likely, frozen=True):
    top_logprobs: tuple[_Likely, ...] = ()


class _Logprobs(msgspec.Struct, frozen=True):
    content: tuple[_Token, ...] | None = None


class _Choice(msgspec.Struct, frozen=True):
    delta: _Delta | None = None
    text: str | None = None
    finish_reason: str | None = None
    logprobs: _Logprobs | None = None


class Event(msgspec.Struct, frozen=True):
    choices: tuple[_Choice, ...] = ()
    usage: Usage | None = None
    error: Any = None


@dataclass(slots=True)
class Reply:
    """A reply as it comes. `finished`: the server said how it ends."""

    finished: bool = False
    pieces: int = 0
    _usage: Usage | None = None
    _finish: str = "stop"
    _calls: dict[int, list[str]] = field(default_factory=dict[int, list[str]])

    def take(self, event: Event) -> list[Piece]:
        """What may be told of it now; a choice beyond the first was not asked for."""
        self._usage = event.usage or self._usage
        found = [self._piece(choice) for choice in event.choices[:1]]
        told = [each for each in found if each.text or each.logprobs]
        self.pieces += len(told)
        return told

    def end(self) -> End:
        calls = tuple(ToolCall(name, arguments) for _, (name, arguments) in sorted(self._calls.items()))
        finish = "tool_calls" if calls else "length" if self._finish == "length" else "stop"
        return End(self._usage or Usage(0, self.pieces), Ending(finish, calls))

    def _piece(self, choice: _Choice) -> Piece:
        if choice.finish_reason is not None:
            self.finished, self._finish = True, choice.finish_reason
        delta = choice.delta or _Delta(choice.text)
        for call in delta.tool_calls or ():
            known = self._calls.setdefault(call.index, ["", ""])
            known[0] += call.function.name or ""
            known[1] += call.function.arguments or ""
        tokens = choice.logprobs.content if choice.logprobs is not None else None
        likely = tuple((each.told(), *(other.told() for other in each.top_logprobs)) for each in tokens or ())
        return Piece(delta.content or "", likely)


def body_of(messages: Sequence[Message], attributes: Attributes) -> dict[str, Any]:
    """The fields of a chat that say what it is, and how its reply is drawn."""
    body: dict[str, Any] = {name: attributes[name] for name in DRAWN if name in attributes}
    body |= {"messages": [_told(each) for each in messages], "max_tokens": max_tokens_of(attributes)}
    if "stop" in attributes:
        body["stop"] = msgspec.json.decode(str(attributes["stop"]))
    if "logprobs" in attributes:
        body |= {"logprobs": True, "top_logprobs": int(attributes["logprobs"])}
    schema = msgspec.json.decode(str(attributes["json_schema"])) if "json_schema" in attributes else None
    if "tools" in attributes:
        body["tools"] = msgspec.json.decode(str(attributes["tools"]))
        if MUST_CALL in attributes:  # its schema says the same in another way
            return body | {"tool_choice": _choice(schema)}
    if schema is not None:
        body["response_format"] = _format(schema)
    return body


def _told(message: Message) -> dict[str, Any]:
    told: dict[str, Any] = {"role": message.role, "content": message.content}
    if message.calls:
        told["content"] = message.content or None
        told["tool_calls"] = [
            {"id": each.id, "type": "function", "function": {"name": each.name, "arguments": each.arguments}}
            for each in message.calls
        ]
    if message.role == "tool":
        told["tool_call_id"] = message.call_id
    return told


def _choice(schema: object) -> object:
    """ "required", or the one function that has to be called: the schema of a call names it."""
    properties = cast("Mapping[str, Any]", schema or {}).get("properties")
    return {"type": "function", "function": {"name": properties["name"]["const"]}} if properties else "required"


def _format(schema: object) -> dict[str, Any]:
    if schema == ANY_JSON:
        return {"type": "json_object"}
    return {"type": "json_schema", "json_schema": {"name": "reply", "schema": schema}}
