"""What travels on an agent's edges, as Python sees it: annotations of steps are checked against these."""

from typing import NewType, TypeAlias

from weft.core.message import Message

Text: TypeAlias = str
Messages: TypeAlias = tuple[Message, ...]
Audio = NewType("Audio", bytes)  # one RIFF/WAVE file
