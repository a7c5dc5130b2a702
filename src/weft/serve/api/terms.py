"""What a request says of how its reply is drawn, as terms of the agent's call."""

import json
import secrets
from operator import attrgetter

import msgspec

from weft.core.errors import RunError
from weft.core.program import Program
from weft.runtime.reply_terms import DRAWN, sampling_of
from weft.serve.api.errors import invalid
from weft.serve.api.schema import ChatRequest, JsonFormat, SchemaFormat
from weft.serve.api.tools import check_schema, tool_terms
from weft.serve.replies import NO_TERMS, Terms, reply_steps

ANY_JSON = "{}"
CHOICES_APART = 1_000_003
_TERMS = (
    *(name for name in DRAWN if name in ChatRequest.__struct_fields__),
    *("max_completion_tokens", "max_tokens", "stop", "response_format", "logprobs", "top_logprobs"),
    *("tools", "tool_choice"),
)
_said_of = attrgetter(*_TERMS)
_NOTHING_SAID = (None,) * len(_TERMS)


def terms_of(program: Program, request: ChatRequest) -> Terms:
    """Raises ApiError 400 that names the field where the agent draws its replies itself, or a value is out of range."""
    return NO_TERMS if _said_of(request) == _NOTHING_SAID else _terms_of(program, request)


def _terms_of(program: Program, request: ChatRequest) -> Terms:
    terms: dict[str, str | int | float] = {
        name: value for name in DRAWN if (value := getattr(request, name, None)) is not None
    }
    if limit := request.max_completion_tokens or request.max_tokens:
        terms["max_tokens"] = limit
    if request.stop:
        terms["stop"] = json.dumps(_stops(request.stop))
    match request.response_format:
        case SchemaFormat(wanted):
            check_schema(wanted.schema, "response_format.json_schema.schema")
            terms["json_schema"] = msgspec.json.encode(wanted.schema).decode()
        case JsonFormat():
            terms["json_schema"] = ANY_JSON
        case _:
            pass
    if request.logprobs:
        terms["logprobs"] = request.top_logprobs or 0
    elif request.top_logprobs is not None:
        raise invalid("top_logprobs goes with logprobs: true", "top_logprobs")
    terms |= tool_terms(request.tools or (), request.tool_choice, request.parallel_tool_calls is not False)
    if terms.get("temperature") and "seed" not in terms:
        terms["seed"] = secrets.randbits(31)  # who names no seed wants another reply each time
    if terms and not reply_steps(program):
        name = next(iter(terms))
        raise invalid(f"agent {program.name!r} looks at its replies and draws them itself: leave {name} out", name)
    if terms:
        _check(terms)
    return terms


def _stops(asked: str | list[str]) -> list[str]:
    stops = [asked] if isinstance(asked, str) else asked
    if not all(stops):
        raise invalid("a stop string is empty: leave it out", "stop")
    return stops


def _check(terms: Terms) -> None:
    try:
        sampling_of(terms)
    except RunError as error:
        raise invalid(str(error), error.subject) from None


def nth_choice(terms: Terms, number: int) -> Terms:
    """Each choice is drawn with a seed of its own, the first with the one that was asked for."""
    if not number or "seed" not in terms:
        return terms
    return {**terms, "seed": (int(terms["seed"]) + number * CHOICES_APART) % 2**31}
