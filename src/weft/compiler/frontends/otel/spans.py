"""OTLP JSON → GenAI spans: one document, or one a line as the collector's file exporter writes them.

Attributes are those of OpenTelemetry's semantic conventions for generative AI (`gen_ai.*`), in their old names too.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, cast

import msgspec

from weft.core.errors import InputError


class Operation(StrEnum):
    CHAT = "chat"
    EMBEDDINGS = "embeddings"
    TOOL = "execute_tool"
    AGENT = "invoke_agent"


_OPERATIONS = {
    "chat": Operation.CHAT,
    "text_completion": Operation.CHAT,
    "generate_content": Operation.CHAT,
    "embeddings": Operation.EMBEDDINGS,
    "execute_tool": Operation.TOOL,
    "invoke_agent": Operation.AGENT,
    "invoke_workflow": Operation.AGENT,
}
_NAMES = {Operation.TOOL: "gen_ai.tool.name", Operation.AGENT: "gen_ai.agent.name"}


@dataclass(frozen=True, slots=True)
class Span:
    """One span of a trace. `operation` is None for spans that are not of generative AI; `name` is then the span's own,
    else the tool's, the agent's, or "chat MODEL"."""

    trace: str
    id: str
    parent: str
    name: str
    operation: Operation | None
    start_ns: int
    end_ns: int
    model: str = ""
    provider: str = ""
    input_tokens: int = 0
    output_tokens: int = 0
    failed: bool = False

    @property
    def seconds(self) -> float:
        return (self.end_ns - self.start_ns) / 1e9


def read_spans(path: Path) -> list[Span]:
    """All spans of a file; refuses what is no OTLP JSON."""
    try:
        text = path.read_bytes()
    except OSError as error:
        raise _unreadable(path, str(error)) from error
    try:
        documents = [msgspec.json.decode(text)]
    except msgspec.DecodeError:
        documents = _lines(path, text)
    try:
        return [_span(each) for document in documents for each in _raw_spans(document)]
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise _unreadable(path, f"a span lacks {error}") from error


def _lines(path: Path, text: bytes) -> list[Any]:
    try:
        return [msgspec.json.decode(line) for line in text.splitlines() if line.strip()]
    except msgspec.DecodeError as error:
        raise _unreadable(path, str(error)) from error


def _raw_spans(document: Any) -> Iterator[Mapping[str, Any]]:
    resources = cast("Mapping[str, Any]", document).get("resourceSpans", ()) if isinstance(document, dict) else ()
    for resource in resources:
        for scope in resource.get("scopeSpans", ()):
            yield from scope.get("spans", ())


def _span(raw: Mapping[str, Any]) -> Span:
    values = {each["key"]: _value(each["value"]) for each in raw.get("attributes", ())}
    operation = _OPERATIONS.get(str(values.get("gen_ai.operation.name", "")))
    model = str(values.get("gen_ai.request.model") or values.get("gen_ai.response.model") or "")
    name = str(raw.get("name", ""))
    if operation is not None:
        told = values.get(_NAMES[operation]) if operation in _NAMES else f"{operation} {model}".strip()
        name = str(told or name.partition(" ")[2] or name)
    return Span(
        str(raw["traceId"]),
        str(raw["spanId"]),
        str(raw.get("parentSpanId") or ""),
        name,
        operation,
        int(raw["startTimeUnixNano"]),
        int(raw["endTimeUnixNano"]),
        model,
        str(values.get("gen_ai.provider.name") or values.get("gen_ai.system") or ""),
        int(values.get("gen_ai.usage.input_tokens") or values.get("gen_ai.usage.prompt_tokens") or 0),
        int(values.get("gen_ai.usage.output_tokens") or values.get("gen_ai.usage.completion_tokens") or 0),
        str(raw.get("status", {}).get("code", "")) in {"2", "STATUS_CODE_ERROR"},
    )


def _value(value: Mapping[str, Any]) -> Any:
    """`{"intValue": "7"}`: OTLP writes 64-bit integers as strings."""
    kind, inner = next(iter(value.items()))
    return int(inner) if kind == "intValue" else inner


def _unreadable(path: Path, why: str) -> InputError:
    return InputError(
        subject=str(path),
        problem=f"is no OTLP JSON: {why}",
        way_out="export traces with the OTLP JSON file exporter, one document or one a line",
    )
