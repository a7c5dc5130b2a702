"""The OpenAPI document, made from the same structs that parse requests and write answers."""

from collections.abc import Iterable
from typing import Any

import msgspec

from weft.serve.api.audio import SpeechRequest
from weft.serve.api.responses import ResponseRequest
from weft.serve.api.schema import ChatRequest, Chunk, Completion, ModelList

_REFERENCE = "#/components/schemas/{name}"
_ERROR = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["message", "type", "param", "code"],
            "properties": {
                "message": {"type": "string"},
                "type": {"type": "string"},
                "param": {"type": ["string", "null"]},
                "code": {"type": "string"},
            },
        }
    },
}
_FORM = {
    "type": "object",
    "required": ["file", "model"],
    "properties": {
        "file": {"type": "string", "contentMediaType": "audio/wav"},
        "model": {"type": "string"},
        "response_format": {"enum": ["json", "text"]},
    },
}
_EVENTS = {"application/json": {"schema": {"type": "object"}}, "text/event-stream": {"schema": {"type": "object"}}}
_TEXT = {"application/json": {"schema": {"type": "object", "required": ["text"]}}, "text/plain": {}}


def document(agents: Iterable[str]) -> dict[str, Any]:
    """`agents`: what a request may name as its model."""
    kinds = (ChatRequest, Completion, Chunk, ModelList, ResponseRequest, SpeechRequest)
    shapes, components = msgspec.json.schema_components(kinds, ref_template=_REFERENCE)
    request, completion, chunk, models, response, speech = shapes
    for schema in components.values():
        if "model" in schema["properties"] and "object" not in schema["properties"]:  # what is asked, not answered
            schema["properties"]["model"] = {"enum": list(agents)}
    answer = {"application/json": {"schema": completion}, "text/event-stream": {"schema": chunk}}
    return {
        "openapi": "3.1.0",
        "info": {"title": "Weft", "version": "1"},
        "security": [{"key": []}, {}],
        "paths": {
            "/v1/chat/completions": {"post": _run("One agent run: whole, or as server-sent events.", request, answer)},
            "/v1/responses": {"post": _run("The same, as a response.", response, _EVENTS)},
            "/v1/audio/transcriptions": {"post": _run("What an agent hears.", _FORM, _TEXT, "multipart/form-data")},
            "/v1/audio/speech": {"post": _run("What an agent says.", speech, {"audio/wav": {}})},
            "/v1/models": {"get": {"summary": "The agents.", "responses": {**_ok(models), **_refusals("401")}}},
            "/healthz": {"get": _plain("The server answers.", "200")},
            "/readyz": {"get": _plain("All nodes live (503: one died).", "200", "503")},
            "/metrics": {"get": _plain("Counters, as Prometheus reads them.", "200")},
            "/openapi.json": {"get": _plain("This document.", "200")},
        },
        "components": {
            "schemas": {**components, "Error": _ERROR},
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
        },
    }


def _run(summary: str, request: object, answer: object, takes: str = "application/json") -> dict[str, object]:
    return {
        "summary": summary,
        "requestBody": {"required": True, "content": {takes: {"schema": request}}},
        "responses": {
            "200": {"description": "The answer.", "content": answer},
            **_refusals("400", "401", "404", "408", "413", "429", "500", "503"),
        },
    }


def _ok(schema: object) -> dict[str, object]:
    return {"200": _json("The list.", schema)}


def _json(description: str, schema: object) -> dict[str, object]:
    return {"description": description, "content": {"application/json": {"schema": schema}}}


def _refusals(*statuses: str) -> dict[str, object]:
    return {status: _json("Refused.", {"$ref": _REFERENCE.format(name="Error")}) for status in statuses}


def _plain(summary: str, *statuses: str) -> dict[str, object]:
    return {"summary": summary, "responses": {status: {"description": summary} for status in statuses}}
