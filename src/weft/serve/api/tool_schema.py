"""Tools that a caller offers to the model, and the model's calls of them, as OpenAI's API spells both."""

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Struct

Name = Annotated[str, msgspec.Meta(pattern="^[a-zA-Z0-9_-]{1,64}$")]


class FunctionSpec(Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """`parameters`: a JSON schema of an object."""

    name: Name
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class Tool(Struct, frozen=True, tag="function", forbid_unknown_fields=True):
    function: FunctionSpec


class NamedFunction(Struct, frozen=True, forbid_unknown_fields=True):
    name: str


class NamedTool(Struct, frozen=True, tag="function", forbid_unknown_fields=True):
    function: NamedFunction


ToolChoice = Literal["none", "auto", "required"] | NamedTool


class CalledFunction(Struct, frozen=True):
    """`arguments`: JSON, as the model wrote it."""

    name: str
    arguments: str


class ToolCallPart(Struct, frozen=True):
    """A call, in an answer and in the conversation that goes on after it."""

    id: str
    function: CalledFunction
    type: Literal["function"] = "function"


class ToolCallDelta(Struct, frozen=True):
    index: int
    id: str
    function: CalledFunction
    type: str = "function"


class TopLogprob(Struct, frozen=True):
    """`bytes` of the token's text in UTF-8."""

    token: str
    logprob: float
    bytes: list[int]


class TokenLogprobs(Struct, frozen=True):
    token: str
    logprob: float
    bytes: list[int]
    top_logprobs: list[TopLogprob]


class Logprobs(Struct, frozen=True):
    content: list[TokenLogprobs]
    refusal: None = None
