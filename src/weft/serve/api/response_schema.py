"""What /v1/responses takes, as OpenAI's newer API spells it, and as a chat request says the same."""

from collections.abc import Sequence
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Struct

from weft.serve.api.response_items import Item, as_messages
from weft.serve.api.schema import (
    ChatMessage,
    ChatRequest,
    JsonFormat,
    JsonSchema,
    PositiveInt,
    SchemaFormat,
    TextFormat,
    Tier,
)
from weft.serve.api.tool_schema import FunctionSpec, Name, NamedFunction, NamedTool, Tool

LOGPROBS = "message.output_text.logprobs"
Included = Literal["message.output_text.logprobs", "reasoning.encrypted_content"]
"""The second is of items that no agent here writes: it asks for nothing."""


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


class StreamTold(Struct, frozen=True, forbid_unknown_fields=True):
    """Nothing is added to hide the lengths of what is said."""

    include_obfuscation: Literal[False] | None = None


class ResponseRequest(Struct, frozen=True, forbid_unknown_fields=True):
    """What /v1/responses takes. It is kept, unless `store` says false; `background` makes it a durable run. Who it is
    for, the name of its cache and how many tools the server may call change nothing here."""

    model: str
    input: str | list[dict[str, Any]]
    instructions: str | None = None
    previous_response_id: str | None = None
    store: bool | None = None
    background: bool | None = None
    stream: bool | None = None
    stream_options: StreamTold | None = None
    metadata: dict[str, str] | None = None
    user: str | None = None
    safety_identifier: str | None = None
    prompt_cache_key: str | None = None
    service_tier: Tier | None = None
    max_output_tokens: PositiveInt | None = None
    max_tool_calls: PositiveInt | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_logprobs: Annotated[int, msgspec.Meta(ge=0, le=20)] | None = None
    tools: list[ResponseTool] | None = None
    tool_choice: Literal["none", "auto", "required"] | ChosenTool | None = None
    parallel_tool_calls: bool | None = None
    text: TextConfig | None = None
    include: list[Included] | None = None
    truncation: Literal["disabled"] | None = None

    @property
    def kept(self) -> bool:
        return self.store is not False

    @property
    def logprobs(self) -> bool:
        return LOGPROBS in (self.include or ())

    def as_chat(self, items: Sequence[Item]) -> ChatRequest:
        """`items`: the whole conversation."""
        choice, said = self.tool_choice, as_messages(items)
        return ChatRequest(
            model=self.model,
            messages=[ChatMessage("system", self.instructions), *said] if self.instructions else said,
            max_tokens=self.max_output_tokens,
            temperature=self.temperature,
            top_p=self.top_p,
            logprobs=self.logprobs or None,
            top_logprobs=self.top_logprobs,
            tools=[tool.as_chat() for tool in self.tools] if self.tools else None,
            tool_choice=NamedTool(NamedFunction(choice.name)) if isinstance(choice, ChosenTool) else choice,
            parallel_tool_calls=self.parallel_tool_calls,
            response_format=self._format,
        )

    @property
    def _format(self) -> TextFormat | JsonFormat | SchemaFormat | None:
        wanted = self.text.format if self.text is not None else None
        if isinstance(wanted, ResponseSchema):
            return SchemaFormat(JsonSchema(wanted.name, wanted.schema, wanted.description, wanted.strict))
        return wanted
