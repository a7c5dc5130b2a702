"""One message of a chat, as models and agents exchange it."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Called:
    """A tool call that a model wrote; `arguments` is JSON."""

    id: str
    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class Message:
    """`role` is "system", "user", "assistant" or "tool" (the result of the call `call_id`)."""

    role: str
    content: str
    calls: tuple[Called, ...] = ()
    call_id: str = ""
