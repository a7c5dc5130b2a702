"""One message of a chat, as models and agents exchange it."""

from msgspec import Struct


class Called(Struct, frozen=True):
    """A tool call that a model wrote; `arguments` is JSON."""

    id: str
    name: str
    arguments: str


class Message(Struct, frozen=True):
    """`role` is "system", "user", "assistant" or "tool" (the result of the call `call_id`)."""

    role: str
    content: str
    calls: tuple[Called, ...] = ()
    call_id: str = ""
