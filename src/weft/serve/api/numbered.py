"""The events of a chat stream with ids, and what comes after one of them.

An id is a place in the answer, not a number of events: of each choice the characters that were said, and behind "!" the
events of its end; the last part counts the events after all choices. So it does not matter how the text was cut into
pieces the first time.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import msgspec

from weft.serve.api.errors import ApiError, invalid
from weft.serve.api.http import DONE, Sink

LAST = b"last-event-id"
_CONTENT = b'"content":'


class _Delta(msgspec.Struct):
    content: str | None = None
    role: str | None = None


class _Choice(msgspec.Struct):
    index: int
    delta: _Delta


class _Chunk(msgspec.Struct):
    choices: list[_Choice] = []


_CHUNK: msgspec.json.Decoder[_Chunk] = msgspec.json.Decoder(_Chunk)


@dataclass(slots=True)
class Place:
    """In one choice: characters that were said, and events of its end."""

    said: int = 0
    ended: int = 0

    def __str__(self) -> str:
        return f"{self.said}!{self.ended}" if self.ended else str(self.said)

    @property
    def begun(self) -> bool:
        return self.said > 0 or self.ended > 0


@dataclass(slots=True)
class Numbered:
    """A sink that gives events their ids, and leaves out what the client `has`."""

    sink: Sink
    has: Sequence[Place]
    at: list[Place] = field(init=False)

    def __post_init__(self) -> None:
        self.at = nowhere(len(self.has) - 1)

    @property
    def started(self) -> bool:
        return self.sink.started

    async def drain(self) -> None:
        await self.sink.drain()

    def write(self, data: bytes) -> None:
        told = b"".join([self._told(event) for event in data.split(b"\n\n")[:-1]])
        if told:
            self.sink.write(told)

    def _told(self, event: bytes) -> bytes:
        event = event[event.index(b"data:") :]
        if event == DONE.rstrip():
            return DONE
        choices = _CHUNK.decode(event[5:]).choices
        of, delta = (choices[0].index, choices[0].delta) if choices else (-1, _Delta())
        if of >= len(self.has) - 1:
            raise _no_place()
        event = self._news(event, self.at[of], self.has[of], delta)
        place = ".".join(map(str, self.at)).encode()
        return b"id: " + place + b"\n" + event + b"\n\n" if event else b""

    def _news(self, event: bytes, at: Place, has: Place, delta: _Delta) -> bytes:
        """Of an event what the client does not have; nothing where it has all."""
        if delta.role is not None:
            return b"" if at.begun or has.begun else event
        if not delta.content:
            at.ended += 1
            return event if at.ended > has.ended else b""
        known = max(0, has.said - at.said)
        at.said += len(delta.content)
        if known >= len(delta.content):
            return b""
        whole, rest = (_CONTENT + msgspec.json.encode(text) for text in (delta.content, delta.content[known:]))
        return event.replace(whole, rest, 1) if known else event


def nowhere(choices: int) -> list[Place]:
    """Of nothing that was told."""
    return [Place() for _ in range(choices + 1)]


def after(last: str | None, sink: Sink) -> Sink:
    """A sink for a whole stream that was told before, of which the client has all up to an id."""
    return Numbered(sink, places_in(last)) if last else sink


def places_in(last: str) -> list[Place]:
    """Of the value of Last-Event-ID. Raises ApiError 400."""
    try:
        found = [Place(*map(int, each.split("!"))) for each in last.split(".")]
    except (ValueError, TypeError):
        raise _no_place() from None
    if any(each.said < 0 or each.ended < 0 for each in found):
        raise _no_place()
    return found


def _no_place() -> ApiError:
    return invalid("Last-Event-ID is no id of an event of this stream", "Last-Event-ID")
