"""What travels on an agent's edges, as Python sees it: annotations of steps are checked against these."""

from typing import Generic, NewType, TypeAlias, TypeVar

from weft.core.message import Message

T = TypeVar("T")

Text: TypeAlias = str
Messages: TypeAlias = tuple[Message, ...]
Audio = NewType("Audio", bytes)  # one RIFF/WAVE file


class Stream(Generic[T]):
    """`Stream[Text]`: a value that comes in chunks. A step that is not made for chunks is given the whole value."""
