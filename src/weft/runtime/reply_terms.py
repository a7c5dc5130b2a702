"""How a reply is drawn and where it ends, as the attributes of its call say: temperature, seed, stop, json_schema, …

Attributes are scalars: `stop` is a JSON list of strings, `json_schema` the text of a schema, `tools` a JSON list of
functions as the OpenAI API describes them, `said` a JSON list of the tokens that the reply has already (it goes on
after them, and they are not told again), `logprobs` a number of alternatives, which are told with each token, `rank`
the seconds by which it goes behind others that came when it did (or, negative, before them).
"""

from collections.abc import Mapping
from dataclasses import fields
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from weft.core.errors import RunError
from weft.runtime.engines.requests import Constraint, Sampling, Terms
from weft.runtime.engines.stop_text import StopText

if TYPE_CHECKING:
    from weft.runtime.engines.chat import Chat

Attributes = Mapping[str, str | int | float]
T = TypeVar("T")

DRAWN = tuple(each.name for each in fields(Sampling) if each.name != "logprobs")
MUST_CALL = "must_call"
"""Among the attributes: the whole reply is a call of one of `tools`, as `json_schema` says, and nothing to be said."""
ONE_CALL = "one_call"
"""Among the attributes: of the calls that a reply makes only the first is taken."""
TERMS = (*DRAWN, "logprobs", "max_tokens", "stop", "json_schema", "tools", "said")
"""What a caller may say of a reply."""
DEFAULT_MAX_TOKENS = 256
RANK = "rank"
TENANT = "tenant"
"""Attribute of a prefill: whose prefixes it may share."""


def sampling_of(attributes: Attributes) -> Sampling:
    """Greedy where nothing is said. Raises RunError beyond the limits of `Sampling`."""
    given = {name: attributes[name] for name in (*DRAWN, "logprobs") if name in attributes}
    try:
        return msgspec.convert(given, Sampling)
    except msgspec.ValidationError as error:
        raise RunError(subject="sampling", problem=f"{given}: {error}", way_out="give numbers") from error


def terms_of(attributes: Attributes, chat: "Chat", vocab: int) -> Terms:
    """For one engine call: the constraint is a fresh one, which belongs to one part of one reply."""
    sampling, said = sampling_of(attributes), said_before(attributes)
    constraint = _constraint_of(attributes, chat, vocab)
    return Terms(sampling, constraint, chat.stop_tokens, said, seconds_of(attributes, RANK))


def seconds_of(attributes: Attributes, name: str, usual_s: float = 0.0) -> float:
    try:
        return float(attributes.get(name, usual_s))
    except ValueError as error:
        raise RunError(subject=name, problem=str(error), way_out="give seconds") from error


def stops_of(attributes: Attributes) -> StopText:
    return StopText(_decoded(attributes, "stop", list[str], "a JSON list of strings"))


def tools_of(attributes: Attributes) -> list[dict[str, Any]]:
    return _decoded(attributes, "tools", list[dict[str, Any]], "a JSON list of function descriptions")


def said_of(attributes: Attributes) -> tuple[int, ...]:
    """Tokens that the caller has already."""
    return _decoded(attributes, "said", tuple[int, ...], "a JSON list of tokens")


def said_before(attributes: Attributes) -> tuple[int, ...]:
    """What an engine is to go on after: of a reply at its limit all but the last token, which is drawn again."""
    return said_of(attributes)[: max(1, max_tokens_of(attributes)) - 1]


def max_tokens_of(attributes: Attributes) -> int:
    """Of the whole reply."""
    return int(attributes.get("max_tokens", DEFAULT_MAX_TOKENS))


def _decoded(attributes: Attributes, name: str, kind: type[T], wanted: str) -> T:
    try:
        return msgspec.json.decode(str(attributes.get(name, "[]")), type=kind)
    except msgspec.DecodeError as error:
        raise RunError(subject=name, problem=str(error), way_out=f"give {wanted}") from error


def _constraint_of(attributes: Attributes, chat: "Chat", vocab: int) -> Constraint | None:
    schema = attributes.get("json_schema")
    return None if schema is None else chat.grammars(vocab).json_schema(str(schema))
