"""What a request says of how its reply is drawn, as terms of the agent's call."""

import json

import msgspec

from weft.core.errors import RunError
from weft.core.program import Program
from weft.runtime.reply_terms import DRAWN, sampling_of
from weft.serve.api.errors import invalid
from weft.serve.api.schema import ChatRequest, JsonFormat, SchemaFormat
from weft.serve.replies import Terms, reply_steps

ANY_JSON = "{}"


def terms_of(program: Program, request: ChatRequest) -> Terms:
    """Raises ApiError 400 that names the field where the agent draws its replies itself, or a value is out of range."""
    terms: dict[str, str | int | float] = {
        name: value for name in DRAWN if (value := getattr(request, name, None)) is not None
    }
    if limit := request.max_completion_tokens or request.max_tokens:
        terms["max_tokens"] = limit
    if request.stop:
        terms["stop"] = json.dumps([request.stop] if isinstance(request.stop, str) else request.stop)
    match request.response_format:
        case SchemaFormat(wanted):
            terms["json_schema"] = msgspec.json.encode(wanted.schema).decode()
        case JsonFormat():
            terms["json_schema"] = ANY_JSON
        case _:
            pass
    if terms and not reply_steps(program):
        name = next(iter(terms))
        raise invalid(f"agent {program.name!r} looks at its replies and draws them itself: leave {name} out", name)
    if terms:
        _check(terms)
    return terms


def _check(terms: Terms) -> None:
    try:
        sampling_of(terms)
    except RunError as error:
        raise invalid(str(error), error.subject) from None
