"""What travels between steps: text, a choice, a wav file, a conversation, or a reference to a KV cache.

KV bytes never travel as a value: whoever needs them pulls them from the node that the handle names.
"""

from collections.abc import Iterable, Sequence
from typing import TypeGuard

import msgspec

from weft.core.errors import WireError
from weft.core.message import Message


class KvHandle(msgspec.Struct, frozen=True, tag="kv"):
    """A sequence that the node at `address` holds. Its transfer or its decode uses it up."""

    address: str
    sequence: int
    first_token: int
    tokens: int


class AudioSize(msgspec.Struct, frozen=True, tag="audio"):
    """Stands in a frame's header for audio that lies in its payload."""

    size_bytes: int


Value = str | int | bytes | tuple[Message, ...] | KvHandle
WireValue = str | int | AudioSize | tuple[Message, ...] | KvHandle


def pack(values: Iterable[Value]) -> tuple[tuple[WireValue, ...], tuple[bytes, ...]]:
    """Values as a header shows them, and the audio for the payload, in the same order."""
    values = tuple(values)
    header = tuple(AudioSize(len(value)) if isinstance(value, bytes) else value for value in values)
    return header, tuple(value for value in values if isinstance(value, bytes))


def unpack(header: Iterable[WireValue], payload: memoryview) -> tuple[Value, ...]:
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
    if isinstance(result, str | int | bytes | KvHandle):
        return int(result) if isinstance(result, bool) else result
    if _is_sequence(result):
        messages = tuple(item for item in result if isinstance(item, Message))
        if len(messages) == len(result):
            return messages
    raise TypeError(f"{subject} returned {type(result).__name__}, not text, audio bytes or a tuple of Message")


def _is_sequence(result: object) -> TypeGuard[Sequence[object]]:
    return isinstance(result, list | tuple)
