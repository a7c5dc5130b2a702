"""The requests and answers of OpenAI's API that Weft speaks. What a request says and Weft does not do is refused."""

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Struct

from weft.serve.api.tool_schema import Logprobs, Tool, ToolCallDelta, ToolCallPart, ToolChoice

MOST_CHOICES = 16
MOST = 2**31 - 1
PositiveInt = Annotated[int, msgspec.Meta(ge=1, le=MOST)]
CountInt = Annotated[int, msgspec.Meta(ge=0, le=MOST)]
Tier = Literal["auto", "default"]
"""How soon a request is served is said by its hints."""
Seed = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]


class TextPart(Struct, frozen=True, tag="text"):
    text: str


class InputAudio(Struct, frozen=True, forbid_unknown_fields=True):
    """`data`: a wav file in base64."""

    data: str
    format: Literal["wav"]


class AudioPart(Struct, frozen=True, tag="input_audio"):
    input_audio: InputAudio


class ChatMessage(Struct, frozen=True):
    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: str | list[TextPart | AudioPart] | None = None
    name: str | None = None
    tool_call_id: str | None = None
    tool_calls: list[ToolCallPart] | None = None


class AgentHints(Struct, frozen=True):
    """What an agent framework knows of a request, in NVIDIA Dynamo's words; ones that are not known here are passed
    over. Requests of higher `priority` go first; `latency_sensitivity` says the same in seconds."""

    priority: float | None = None
    latency_sensitivity: float | None = None


class NvExt(Struct, frozen=True):
    agent_hints: AgentHints | None = None


class StreamOptions(Struct, frozen=True, forbid_unknown_fields=True):
    """Nothing is added to hide the lengths of what is said."""

    include_usage: bool = False
    include_obfuscation: Literal[False] | None = None


class SpokenAs(Struct, frozen=True, forbid_unknown_fields=True):
    """The voice is the agent's own: the client's types ask for one, and get it."""

    format: Literal["wav"]
    voice: str | dict[str, str] | None = None


class JsonSchema(Struct, frozen=True, forbid_unknown_fields=True):
    name: str
    schema: dict[str, Any]
    description: str | None = None
    strict: bool | None = None


class TextFormat(Struct, frozen=True, tag="text"): ...


class JsonFormat(Struct, frozen=True, tag="json_object"): ...


class SchemaFormat(Struct, frozen=True, tag="json_schema"):
    json_schema: JsonSchema


class ChatRequest(Struct, frozen=True, forbid_unknown_fields=True):
    """What /v1/chat/completions takes. `modalities` is what the caller can use: text alone leaves speech out. Who it is
    for and the name of its cache change nothing here; what is to be kept is asked of /v1/responses. What stands below
    `metadata` is for agents whose reply is a call's: others say themselves how they draw."""

    model: str
    messages: list[ChatMessage]
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    modalities: list[Literal["text", "audio"]] | None = None
    audio: SpokenAs | None = None
    n: Annotated[int, msgspec.Meta(ge=1, le=MOST_CHOICES)] | None = None
    user: str | None = None
    safety_identifier: str | None = None
    prompt_cache_key: str | None = None
    service_tier: Tier | None = None
    store: Literal[False] | None = None
    metadata: dict[str, str] | None = None
    max_tokens: PositiveInt | None = None
    max_completion_tokens: PositiveInt | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: CountInt | None = None
    min_p: float | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    repetition_penalty: float | None = None
    seed: Seed | None = None
    stop: str | list[str] | None = None
    response_format: TextFormat | JsonFormat | SchemaFormat | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, msgspec.Meta(ge=0, le=20)] | None = None
    tools: list[Tool] | None = None
    tool_choice: ToolChoice | None = None
    parallel_tool_calls: bool | None = None
    nvext: NvExt | None = None


class RunRequest(ChatRequest, frozen=True, forbid_unknown_fields=True):
    """What /v1/runs takes: a chat request, the session that it belongs to, and who is to be told how it ended."""

    session: str | None = None
    webhook: str | None = None


class StepUsage(Struct, frozen=True):
    """One visit of a step: Weft's extension of `usage`."""

    step: str
    node: str
    device: str
    duration_s: float
    input_tokens: int
    output_tokens: int
    usd: float
    cached_tokens: int = 0
    """Of the input, what was not computed again."""


class PromptDetails(Struct, frozen=True):
    cached_tokens: int


class Usage(Struct, frozen=True):
    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: PromptDetails
    usd: float
    steps: list[StepUsage]


class Spoken(Struct, frozen=True):
    """`data`: a wav file in base64; in a stream one for each sentence. It is not kept here: `expires_at` is now."""

    id: str
    data: str
    transcript: str
    expires_at: int


class AnswerMessage(Struct, frozen=True, omit_defaults=True):
    content: str | None
    role: str = msgspec.field(default_factory=lambda: "assistant")
    audio: Spoken | None = None
    tool_calls: list[ToolCallPart] | None = None


class Choice(Struct, frozen=True):
    index: int
    message: AnswerMessage
    finish_reason: str
    logprobs: Logprobs | None = None


class Completion(Struct, frozen=True):
    id: str
    created: int
    model: str
    choices: list[Choice]
    usage: Usage
    object: str = "chat.completion"


class Delta(Struct, frozen=True, omit_defaults=True):
    role: str | None = None
    content: str | None = None
    audio: Spoken | None = None
    tool_calls: list[ToolCallDelta] | None = None


class ChunkChoice(Struct, frozen=True):
    delta: Delta
    index: int = 0
    finish_reason: str | None = None
    logprobs: Logprobs | None = None


class Chunk(Struct, frozen=True):
    id: str
    created: int
    model: str
    choices: list[ChunkChoice]
    usage: Usage | None = None
    object: str = "chat.completion.chunk"


class RunError(Struct, frozen=True):
    message: str
    code: str


class RunAnswer(Struct, frozen=True):
    """A durable run. `required_action`: the steps that wait for a person, and what each shows."""

    id: str
    model: str
    status: str
    created_at: int
    ended_at: int | None
    session: str | None
    metadata: dict[str, str]
    output: str | None
    audio: str | None
    tool_calls: list[ToolCallPart] | None
    error: RunError | None
    required_action: dict[str, Any] | None
    usage: Usage | None
    object: str = "run"


class ModelCard(Struct, frozen=True):
    id: str
    created: int
    owned_by: str = "weft"
    object: str = "model"


class ModelList(Struct, frozen=True):
    data: list[ModelCard]
    object: str = "list"
