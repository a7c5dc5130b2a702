"""How a reply is drawn and where it ends, as the attributes of its call say: temperature, seed, stop, json_schema, …

Attributes are scalars, so `stop` is a JSON list of strings and `json_schema` the text of a schema.
"""

from collections.abc import Mapping
from dataclasses import fields
from typing import TYPE_CHECKING

import msgspec

from weft.core.errors import RunError
from weft.runtime.engines.requests import Constraint, Sampling
from weft.runtime.engines.stop_text import StopText

if TYPE_CHECKING:
    from weft.runtime.engines.chat import Chat

Attributes = Mapping[str, str | int | float]

DEFAULT_MAX_TOKENS = 256
DRAWN = tuple(each.name for each in fields(Sampling) if each.name != "logprobs")
TERMS = (*DRAWN, "max_tokens", "stop", "json_schema")
"""What a caller may say of a reply."""


def sampling_of(attributes: Attributes) -> Sampling:
    """Greedy where nothing is said. Raises RunError beyond the limits of `Sampling`."""
    given = {name: attributes[name] for name in DRAWN if name in attributes}
    try:
        return msgspec.convert(given, Sampling)
    except msgspec.ValidationError as error:
        raise RunError(subject="sampling", problem=f"{given}: {error}", way_out="give numbers") from error


def stops_of(attributes: Attributes) -> StopText:
    try:
        return StopText(msgspec.json.decode(str(attributes.get("stop", "[]")), type=list[str]))
    except msgspec.DecodeError as error:
        raise RunError(subject="stop", problem=str(error), way_out="give a JSON list of strings") from error


def said_before(attributes: Attributes) -> tuple[int, ...]:
    """What the reply has already, and goes on after: of one that is at its limit all but the last token, which is drawn
    again."""
    said = msgspec.json.decode(str(attributes.get("said", "[]")), type=tuple[int, ...])
    return said[: max(1, int(attributes.get("max_tokens", DEFAULT_MAX_TOKENS))) - 1]


def constraint_of(attributes: Attributes, chat: "Chat", vocab: int) -> Constraint | None:
    """A fresh one: it belongs to one part of one reply."""
    schema = attributes.get("json_schema")
    return None if schema is None else chat.grammars(vocab).json_schema(str(schema))
