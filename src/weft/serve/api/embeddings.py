"""/v1/embeddings: an agent that reads text and gives a vector is an embedding model."""

import base64
from collections.abc import Sequence
from typing import Literal, TypeGuard

import numpy as np
from msgspec import Struct

from weft.core.program import StepKind
from weft.runtime.values import Value, Vector
from weft.serve.agents import ServedAgent
from weft.serve.api.bill import Bill
from weft.serve.api.errors import invalid
from weft.serve.api.reply import Reply, all_of, total
from weft.serve.api.schema import PositiveInt, StepUsage
from weft.serve.hints import RunHints

MOST_INPUTS = 256


class EmbeddingRequest(Struct, frozen=True, forbid_unknown_fields=True):
    """What /v1/embeddings takes. `dimensions` must be the model's own: vectors are not cut."""

    model: str
    input: str | list[str | int | list[int]]
    encoding_format: Literal["float", "base64"] = "float"
    dimensions: PositiveInt | None = None
    user: str | None = None


class Embedding(Struct, frozen=True):
    """In base64: 32-bit floats, little-endian."""

    index: int
    embedding: list[float] | str
    object: str = "embedding"


class EmbeddingUsage(Struct, frozen=True):
    prompt_tokens: int
    total_tokens: int
    usd: float
    steps: list[StepUsage]


class Embeddings(Struct, frozen=True):
    model: str
    data: list[Embedding]
    usage: EmbeddingUsage
    object: str = "list"


def embedding(agent: ServedAgent, request: EmbeddingRequest, bill: Bill, hints: RunHints) -> list[Reply]:
    """A run for each text: those that wait for the model go in one batch. Raises ApiError 400."""
    texts = [request.input] if isinstance(request.input, str) else request.input
    if not _are_texts(texts):
        message = "tokens are another model's words: give texts (LangChain: check_embedding_ctx_length=False)"
        raise invalid(message, "input")
    if not texts or len(texts) > MOST_INPUTS or not all(texts):
        raise invalid(f"give from 1 to {MOST_INPUTS} texts that are not empty", "input")
    program = agent.deployment.program
    if program.input_types != ("text",) or not any(step.kind is StepKind.EMBED for step in program.steps):
        raise invalid(f"agent {agent.name!r} does not embed", "model")
    return [Reply(agent, {program.entry.parameters[0]: text}, bill=bill, hints=hints) for text in texts]


def _are_texts(given: Sequence[object]) -> TypeGuard[list[str]]:
    return all(isinstance(each, str) for each in given)


async def embedded(request: EmbeddingRequest, replies: Sequence[Reply]) -> Embeddings:
    vectors = [_numbers(request, value) for value in await all_of([reply.whole() for reply in replies])]
    data = [Embedding(at, _encoded(request, each)) for at, each in enumerate(vectors)]
    usage = total([reply.usage for reply in replies])
    told = EmbeddingUsage(usage.prompt_tokens, usage.prompt_tokens, usage.usd, usage.steps)
    return Embeddings(request.model, data, told)


def _numbers(request: EmbeddingRequest, value: Value) -> tuple[float, ...]:
    if not isinstance(value, Vector):
        raise invalid(f"agent {request.model!r} does not give a vector", "model")
    if request.dimensions not in (None, len(value.numbers)):
        raise invalid(f"vectors of {request.model!r} have {len(value.numbers)} dimensions", "dimensions")
    return value.numbers


def _encoded(request: EmbeddingRequest, numbers: tuple[float, ...]) -> list[float] | str:
    if request.encoding_format == "float":
        return list(numbers)
    return base64.b64encode(np.asarray(numbers, "<f4").tobytes()).decode("ascii")
