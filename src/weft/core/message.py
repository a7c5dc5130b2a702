"""One message of a chat, as models and agents exchange it."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Message:
    """`role` is "system", "user", "assistant" or "tool" (the result of a call)."""

    role: str
    content: str
