"""A chat request as the inputs of an agent: its whole conversation, or what the user said last, read or heard."""

import base64
import binascii

from weft.core.message import Called, Message
from weft.core.program import Program
from weft.runtime.values import Value
from weft.serve.api.errors import ApiError, invalid
from weft.serve.api.schema import AudioPart, ChatMessage, TextPart

TAKEN = ("text", "messages", "audio")


def agent_inputs(program: Program, messages: list[ChatMessage]) -> dict[str, Value]:
    """Raises ApiError 400 where the agent takes something else than the request holds."""
    types = program.input_types
    if len(types) != 1 or types[0] not in TAKEN:
        taken = ", ".join(types) or "nothing"
        message = f"agent {program.name!r} takes {taken}: a chat gives one of {', '.join(TAKEN)}"
        raise invalid(message, "model", "agent_takes_other_input")
    if not messages:
        raise invalid("the conversation is empty: give at least one message", "messages")
    return {program.entry.parameters[0]: _value(types[0], messages)}


def said_by(messages: list[ChatMessage]) -> tuple[Message, ...]:
    """What is remembered of a request: its words, whatever the agent takes."""
    return tuple(_message(each, _words(each)) for each in messages)


def _message(said: ChatMessage, text: str) -> Message:
    role = "system" if said.role == "developer" else said.role
    if not said.tool_calls:
        return Message(role, text, (), said.tool_call_id or "")
    calls = tuple(Called(each.id, each.function.name, each.function.arguments) for each in said.tool_calls)
    return Message(role, text, calls, said.tool_call_id or "")


def _words(message: ChatMessage) -> str:
    if not isinstance(message.content, list):
        return message.content or ""
    return "".join(part.text for part in message.content if isinstance(part, TextPart))


def _value(kind: str, messages: list[ChatMessage]) -> Value:
    if kind == "messages":
        return tuple([_message(each, _text(each, at)) for at, each in enumerate(messages)])
    last = len(messages) - 1
    if messages[last].role != "user":
        raise invalid(f"the last message is of role {messages[last].role!r}: end with one of the user", "messages")
    if len(messages) > 1:
        said = f"this agent takes what the user says alone, not a conversation: got {len(messages)} messages, give one"
        raise invalid(said, "messages")
    return _text(messages[last], last) if kind == "text" else _audio(messages[last], last)


def _text(message: ChatMessage, at: int) -> str:
    content = message.content
    if isinstance(content, str) and content:
        return content
    parts = content if isinstance(content, list) else [TextPart(content or "")]
    if any(isinstance(part, AudioPart) for part in parts):
        raise invalid("this agent reads text: it does not listen", f"messages[{at}].content")
    text = "".join(part.text for part in parts if isinstance(part, TextPart))
    if not text and message.role not in ("assistant", "tool"):
        raise invalid("the message is empty", f"messages[{at}].content")
    return text


def _audio(message: ChatMessage, at: int) -> bytes:
    parts = message.content if isinstance(message.content, list) else []
    sounds = [part.input_audio for part in parts if isinstance(part, AudioPart)]
    if len(sounds) != 1 or len(parts) != 1:
        raise invalid("this agent listens: give one input_audio part, a wav file", f"messages[{at}].content")
    try:
        return base64.b64decode(sounds[0].data, validate=True)
    except binascii.Error as error:
        raise _not_base64(at, error) from None


def _not_base64(at: int, error: Exception) -> ApiError:
    return invalid(f"the sound is not base64: {error}", f"messages[{at}].content[0].input_audio.data")
