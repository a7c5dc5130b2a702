"""What /v1/responses takes, as OpenAI's newer API spells it, and as a chat request says the same."""

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Struct

from weft.serve.api.schema import (
    ChatMessage,
    ChatRequest,
    JsonFormat,
    JsonSchema,
    PositiveInt,
    SchemaFormat,
    TextFormat,
    TextPart,
)
from weft.serve.api.tool_schema import CalledFunction, FunctionSpec, Name, NamedFunction, NamedTool, Tool, ToolCallPart


class InputText(Struct, frozen=True, tag="input_text"):
    text: str


class OutputText(Struct, frozen=True, tag="output_text"):
    text: str


class InputMessage(Struct, frozen=True):
    role: Literal["system", "developer", "user", "assistant"]
    content: str | list[InputText | OutputText]
    type: Literal["message"] = "message"

    def as_chat(self) -> ChatMessage:
        parts = self.content if isinstance(self.content, list) else [InputText(self.content)]
        return ChatMessage(self.role, [TextPart(part.text) for part in parts])


class ToolCallItem(Struct, frozen=True):
    """A call that the model made earlier."""

    call_id: str
    name: str
    arguments: str
    type: Literal["function_call"] = "function_call"

    def as_chat(self) -> ChatMessage:
        call = ToolCallPart(self.call_id, CalledFunction(self.name, self.arguments))
        return ChatMessage("assistant", tool_calls=[call])


class ToolOutputItem(Struct, frozen=True):
    """What came of it."""

    call_id: str
    output: str
    type: Literal["function_call_output"] = "function_call_output"

    def as_chat(self) -> ChatMessage:
        return ChatMessage("tool", self.output, tool_call_id=self.call_id)


class ResponseTool(Struct, frozen=True, tag="function"):
    """A function, flat."""

    name: Name
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None

    def as_chat(self) -> Tool:
        return Tool(FunctionSpec(self.name, self.description, self.parameters, self.strict))


class ChosenTool(Struct, frozen=True, tag="function", forbid_unknown_fields=True):
    name: str


class ResponseSchema(Struct, frozen=True, tag="json_schema"):
    name: str
    schema: dict[str, Any]
    description: str | None = None
    strict: bool | None = None


class TextConfig(Struct, frozen=True, forbid_unknown_fields=True):
    format: TextFormat | JsonFormat | ResponseSchema | None = None


class ResponseRequest(Struct, frozen=True, forbid_unknown_fields=True):
    """What /v1/responses takes. Nothing is stored: `store` is taken, and means nothing here."""

    model: str
    input: str | list[dict[str, Any]]
    instructions: str | None = None
    stream: bool = False
    store: bool | None = None
    metadata: dict[str, str] | None = None
    user: str | None = None
    max_output_tokens: PositiveInt | None = None
    temperature: float | None = None
    top_p: float | None = None
    tools: list[ResponseTool] | None = None
    tool_choice: Literal["none", "auto", "required"] | ChosenTool | None = None
    parallel_tool_calls: bool | None = None
    text: TextConfig | None = None
    include: Annotated[list[str], msgspec.Meta(max_length=0)] | None = None
    truncation: Literal["disabled"] | None = None

    def as_chat(self) -> ChatRequest:
        """Raises msgspec.ValidationError where an item of the input is none that is known."""
        choice = self.tool_choice
        return ChatRequest(
            model=self.model,
            messages=self._messages,
            max_tokens=self.max_output_tokens,
            temperature=self.temperature,
            top_p=self.top_p,
            tools=[tool.as_chat() for tool in self.tools] if self.tools else None,
            tool_choice=NamedTool(NamedFunction(choice.name)) if isinstance(choice, ChosenTool) else choice,
            response_format=self._format,
        )

    @property
    def _messages(self) -> list[ChatMessage]:
        if isinstance(self.input, str):
            said = [ChatMessage("user", self.input)]
        else:
            items = [
                msgspec.convert(each, _ITEMS.get(str(each.get("type", "message")), InputMessage)) for each in self.input
            ]
            said = _joined([item.as_chat() for item in items])
        return [ChatMessage("system", self.instructions), *said] if self.instructions else said

    @property
    def _format(self) -> TextFormat | JsonFormat | SchemaFormat | None:
        wanted = self.text.format if self.text is not None else None
        if isinstance(wanted, ResponseSchema):
            return SchemaFormat(JsonSchema(wanted.name, wanted.schema, wanted.description, wanted.strict))
        return wanted


_ITEMS: dict[str, type[InputMessage | ToolCallItem | ToolOutputItem]] = {
    "message": InputMessage,
    "function_call": ToolCallItem,
    "function_call_output": ToolOutputItem,
}


def _joined(messages: list[ChatMessage]) -> list[ChatMessage]:
    """Calls that follow one another are one turn of the assistant, with what it said before."""
    joined = list[ChatMessage]()
    for each in messages:
        last = joined[-1] if joined else None
        if each.tool_calls and last is not None and last.role == "assistant":
            calls = [*(last.tool_calls or ()), *each.tool_calls]
            joined[-1] = msgspec.structs.replace(last, tool_calls=calls)
        else:
            joined.append(each)
    return joined
