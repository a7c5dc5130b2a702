"""Data steps that need no code of the agent: the items of a map, its results as one list; JSON; personal data out."""

from collections.abc import Callable, Mapping, Sequence
from typing import cast

import msgspec

from weft.core.errors import StepFailedError
from weft.core.program import GATHER, ITEM, NEXT
from weft.runtime.values import Docs, Items, Json, Told, Value, as_text, as_told

Attributes = Mapping[str, str | int | float]
Glue = Callable[[str, Attributes, Sequence[Value]], object]


def item(step: str, attributes: Attributes, inputs: Sequence[Value]) -> Value:
    """The item `index` of a list; or of (list, gathered so far) the next one."""
    items, width = items_of(step, inputs[0]), int(attributes.get("width", 0))
    if width and len(items) > width:
        raise StepFailedError(
            subject=f"step {step!r}",
            problem=f"has {len(items)} items and a map that was planned for {width}",
            way_out=f"plan the map with width={len(items)}, or give it fewer items",
        )
    index = int(attributes["index"]) if len(inputs) == 1 else len(items_of(step, inputs[1]))
    if index >= len(items):
        raise StepFailedError(
            subject=f"step {step!r}",
            problem=f"wants item {index + 1} of a list of {len(items)}",
            way_out="give the map its true width, or the list so many items",
        )
    return items[index]


def gather(_: str, __: Attributes, inputs: Sequence[Value]) -> Value:
    """A list that was gathered before comes first."""
    before, rest = (inputs[0].values, inputs[1:]) if inputs and isinstance(inputs[0], Items) else ((), inputs)
    return Items((*before, *(as_told(value, "a map's worker") for value in rest)))


def has_next(step: str, _: Attributes, inputs: Sequence[Value]) -> bool:
    return len(items_of(step, inputs[1])) < len(items_of(step, inputs[0]))


def parse_json(step: str, _: Attributes, inputs: Sequence[Value]) -> Value:
    text = as_text(inputs[0]) or ""
    try:
        return Json(msgspec.json.decode(text))
    except msgspec.DecodeError as error:
        raise StepFailedError(
            subject=f"step {step!r}", problem=f"{text[:80]!r} is no JSON ({error})", way_out="let the model write JSON"
        ) from error


def items_of(step: str, value: Value) -> tuple[Told, ...]:
    """A list's values; of text its lines, or the JSON list that it is; of a conversation or passages each one."""
    match value:
        case Items(values):
            return values
        case Docs(passages):
            return tuple(Docs((each,)) for each in passages)
        case Json(inner) if isinstance(inner, list):
            return tuple(as_told(each, f"step {step!r}") for each in cast("list[object]", inner))
        case tuple():
            return tuple((message,) for message in value)
        case str():
            return _items_of_text(step, value)
        case _:
            raise StepFailedError(
                subject=f"step {step!r}", problem=f"{type(value).__name__} is no list", way_out="give the map a list"
            )


def _items_of_text(step: str, text: str) -> tuple[Told, ...]:
    if text.lstrip().startswith("["):
        try:
            return items_of(step, Json(msgspec.json.decode(text, type=list)))
        except msgspec.DecodeError:
            pass
    return tuple(line.strip() for line in text.splitlines() if line.strip())


def redact(step: str, attributes: Attributes, inputs: Sequence[Value]) -> object:
    from weft.runtime.steps import privacy  # its libraries are an extra

    return privacy.redact(step, attributes, inputs)


GLUE: Mapping[str, Glue] = {ITEM: item, GATHER: gather, NEXT: has_next, "json": parse_json, "redact": redact}
