"""What travels between steps: text, a choice, a wav file, a conversation, passages, JSON, a vector, a list, a reference
to a KV cache.

KV bytes never travel as a value: whoever needs them pulls them from the node that the handle names.
"""

from collections.abc import Iterable, Sequence
from typing import Any, cast

import msgspec

from weft.core.errors import WireError
from weft.core.message import Message


class Passage(msgspec.Struct, frozen=True):
    """One article of a corpus; `spoken` is how its title is said."""

    id: str
    title: str
    text: str
    spoken: str = ""

    def __str__(self) -> str:
        return f"{self.title}: {self.text}" if self.title else self.text


class Docs(msgspec.Struct, frozen=True, tag="docs"):
    """Passages that a search found, best first."""

    passages: tuple[Passage, ...]


class Json(msgspec.Struct, frozen=True, tag="json"):
    """A parsed value: what `json.loads` gives."""

    value: Any


class Vector(msgspec.Struct, frozen=True, tag="vector"):
    """An embedding."""

    numbers: tuple[float, ...]


class Items(msgspec.Struct, frozen=True, tag="items"):
    """A list that a map takes apart, or has gathered."""

    values: tuple["str | int | tuple[Message, ...] | Docs | Json | Vector | Items", ...]


class PrefixHandle(msgspec.Struct, frozen=True, tag="prefix"):
    """What several prompts begin with: a name. The engine's prefix cache has the blocks, if any."""

    name: str
    tokens: int


class KvHandle(msgspec.Struct, frozen=True, tag="kv"):
    """A sequence that the node at `address` holds. Its transfer or its decode uses it up."""

    address: str
    sequence: int
    first_token: int
    tokens: int


class AudioSize(msgspec.Struct, frozen=True, tag="audio"):
    """Stands in a frame's header for audio that lies in its payload."""

    size_bytes: int


Told = str | int | tuple[Message, ...] | Docs | Json | Vector | Items
"""Values that are complete in themselves: what tools, memories and maps work on."""
Value = Told | bytes | KvHandle | PrefixHandle
WireValue = Told | AudioSize | KvHandle | PrefixHandle


def pack(values: Iterable[Value]) -> tuple[tuple[WireValue, ...], tuple[bytes, ...]]:
    """Values as a header shows them, and the audio for the payload, in the same order."""
    values = tuple(values)
    audio = tuple([value for value in values if isinstance(value, bytes)])
    if not audio:
        return cast("tuple[WireValue, ...]", values), ()
    return tuple([AudioSize(len(value)) if isinstance(value, bytes) else value for value in values]), audio


def unpack(header: tuple[WireValue, ...], payload: memoryview) -> tuple[Value, ...]:
    if not payload and not [value for value in header if isinstance(value, AudioSize)]:
        return cast("tuple[Value, ...]", header)
    values: list[Value] = []
    start = 0
    for value in header:
        if isinstance(value, AudioSize):
            values.append(bytes(payload[start : start + value.size_bytes]))
            start += value.size_bytes
        else:
            values.append(value)
    if start != len(payload):
        raise WireError(
            subject="values",
            problem=f"take {start} bytes of audio, the frame carries {len(payload)}",
            way_out="both sides must run the same version of weft",
        )
    return tuple(values)


def as_value(result: object, subject: str) -> Value:
    """What a Python function of an agent returned, as a value that can travel."""
    if isinstance(result, bytes | KvHandle | PrefixHandle):
        return result
    return as_told(result, subject)


def as_told(result: object, subject: str) -> Told:
    """Lists become messages or passages where all items are; else Items. Other plain data becomes Json."""
    match result:
        case bool():
            return int(result)
        case str() | int() | Docs() | Json() | Vector() | Items():
            return result
        case Passage():
            return Docs((result,))
        case Message():
            return (result,)
        case list() | tuple():
            return _list(cast("Sequence[object]", result), subject)
        case None | float() | dict():
            return _json(cast("object", result), subject)
        case _:
            raise _foreign(result, subject)


def _list(results: Sequence[object], subject: str) -> Told:
    messages = tuple(item for item in results if isinstance(item, Message))
    if len(messages) == len(results):
        return messages
    passages = tuple(item for item in results if isinstance(item, Passage))
    if len(passages) == len(results):
        return Docs(passages)
    return Items(tuple(as_told(item, subject) for item in results))


def _json(result: object, subject: str) -> Json:
    try:
        return Json(msgspec.json.decode(msgspec.json.encode(result)))
    except (TypeError, msgspec.MsgspecError) as error:
        raise _foreign(result, subject) from error


def _foreign(result: object, subject: str) -> TypeError:
    wanted = "text, audio bytes, a tuple of Message, a list of these, or JSON data"
    return TypeError(f"{subject} returned {type(result).__name__}, not {wanted}")


def plain(value: Value) -> object:
    """A value as an agent's own Python sees it."""
    match value:
        case Docs(passages):
            return passages
        case Json(inner):
            return inner
        case Vector(numbers):
            return numbers
        case Items(values):
            return [plain(each) for each in values]
        case _:
            return value


def as_text(value: Value) -> str | None:
    """What a value says, for steps that work on text; of a conversation the last message. None: it says nothing."""
    match value:
        case str():
            return value
        case Docs(passages):
            return "\n".join(map(str, passages))
        case Json(inner):
            return inner if isinstance(inner, str) else msgspec.json.encode(inner).decode()
        case (*_, Message(_, content)):
            return content
        case _:
            return None
