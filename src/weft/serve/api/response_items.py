"""The items that a response reads: messages, calls and what came of them; as they come, as they are kept, as a chat."""

from collections.abc import Iterable
from typing import Any, Literal

import msgspec
from msgspec import Struct

from weft.serve.api.errors import invalid
from weft.serve.api.schema import AudioPart, ChatMessage, InputAudio, TextPart
from weft.serve.api.tool_schema import CalledFunction, ToolCallPart
from weft.serve.ids import fresh

Json = dict[str, Any]


class InputText(Struct, frozen=True, tag="input_text"):
    text: str


class OutputText(Struct, frozen=True, tag="output_text"):
    text: str


class InputSound(Struct, frozen=True, tag="input_audio"):
    input_audio: InputAudio


class InputMessage(Struct, frozen=True):
    role: Literal["system", "developer", "user", "assistant"]
    content: str | list[InputText | OutputText | InputSound]
    type: Literal["message"] = "message"
    id: str | None = None

    def as_chat(self) -> ChatMessage:
        parts = self.content if isinstance(self.content, list) else [InputText(self.content)]
        told = [AudioPart(each.input_audio) if isinstance(each, InputSound) else TextPart(each.text) for each in parts]
        return ChatMessage(self.role, told)

    def as_kept(self) -> Json:
        parts = self.content if isinstance(self.content, list) else [InputText(self.content)]
        content = [self._part(each) for each in parts]
        about = {"type": "message", "id": self.id or f"msg_{fresh()}", "status": "completed"}
        return {**about, "role": self.role, "content": content}

    def _part(self, part: InputText | OutputText | InputSound) -> Json:
        if self.role == "assistant" and not isinstance(part, InputSound):
            return {"type": "output_text", "text": part.text, "annotations": [], "logprobs": []}
        return msgspec.to_builtins(InputText(part.text) if isinstance(part, OutputText) else part)


class ToolCallItem(Struct, frozen=True):
    """A call that the model made earlier."""

    call_id: str
    name: str
    arguments: str
    type: Literal["function_call"] = "function_call"
    id: str | None = None

    def as_chat(self) -> ChatMessage:
        call = ToolCallPart(self.call_id, CalledFunction(self.name, self.arguments))
        return ChatMessage("assistant", tool_calls=[call])

    def as_kept(self) -> Json:
        return {**msgspec.to_builtins(self), "id": self.id or f"fc_{fresh()}", "status": "completed"}


class ToolOutputItem(Struct, frozen=True):
    """What came of it."""

    call_id: str
    output: str | list[InputText]
    type: Literal["function_call_output"] = "function_call_output"
    id: str | None = None

    def as_chat(self) -> ChatMessage:
        said = self.output if isinstance(self.output, str) else "".join(each.text for each in self.output)
        return ChatMessage("tool", said, tool_call_id=self.call_id)

    def as_kept(self) -> Json:
        return {**msgspec.to_builtins(self), "id": self.id or f"fco_{fresh()}", "status": "completed"}


Item = InputMessage | ToolCallItem | ToolOutputItem
_ITEMS: dict[str, type[Item]] = {
    "message": InputMessage,
    "function_call": ToolCallItem,
    "function_call_output": ToolOutputItem,
}


def read_items(given: str | Iterable[Json]) -> list[Item]:
    """Raises ApiError 400 that names the item which is none that is known."""
    if isinstance(given, str):
        return [InputMessage("user", given)]
    return [_item(each, at) for at, each in enumerate(given)]


def _item(given: Json, at: int) -> Item:
    kind = str(given.get("type", "message"))
    if kind not in _ITEMS:
        message = f"input[{at}]: items of type {kind!r} are not taken here; there is {', '.join(_ITEMS)}"
        raise invalid(message, f"input[{at}].type")
    try:
        return msgspec.convert(given, _ITEMS[kind])
    except msgspec.ValidationError as error:
        raise invalid(f"input[{at}]: {error}", f"input[{at}]") from None


def as_messages(items: Iterable[Item]) -> list[ChatMessage]:
    """Calls that follow one another are one turn of the assistant, with what it said before."""
    joined = list[ChatMessage]()
    for each in (item.as_chat() for item in items):
        last = joined[-1] if joined else None
        if each.tool_calls and last is not None and last.role == "assistant":
            calls = [*(last.tool_calls or ()), *each.tool_calls]
            joined[-1] = msgspec.structs.replace(last, tool_calls=calls)
        else:
            joined.append(each)
    return joined
