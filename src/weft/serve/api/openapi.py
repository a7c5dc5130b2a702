"""The OpenAPI document, made from the same structs that parse requests and write answers."""

from functools import cache
from typing import Any

import msgspec

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


@cache
def document() -> dict[str, Any]:
    kinds = (ChatRequest, Completion, Chunk, ModelList)
    shapes, components = msgspec.json.schema_components(kinds, ref_template=_REFERENCE)
    request, completion, chunk, models = shapes
    chat = {
        "operationId": "createChatCompletion",
        "summary": "One run of an agent, its answer whole or as server-sent events.",
        "requestBody": {"required": True, "content": {"application/json": {"schema": request}}},
        "responses": {
            "200": {
                "description": "The answer.",
                "content": {"application/json": {"schema": completion}, "text/event-stream": {"schema": chunk}},
            },
            **_refusals("400", "401", "404", "408", "413", "429", "500", "503"),
        },
    }
    listing = {
        "operationId": "listModels",
        "summary": "The agents that are served.",
        "responses": {"200": _json("The list.", models), **_refusals("401")},
    }
    return {
        "openapi": "3.1.0",
        "info": {"title": "Weft", "version": "1"},
        "security": [{"key": []}, {}],
        "paths": {
            "/v1/chat/completions": {"post": chat},
            "/v1/models": {"get": listing},
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


def _json(description: str, schema: object) -> dict[str, object]:
    return {"description": description, "content": {"application/json": {"schema": schema}}}


def _refusals(*statuses: str) -> dict[str, object]:
    return {status: _json("Refused.", {"$ref": _REFERENCE.format(name="Error")}) for status in statuses}


def _plain(summary: str, *statuses: str) -> dict[str, object]:
    return {"summary": summary, "responses": {status: {"description": summary} for status in statuses}}
