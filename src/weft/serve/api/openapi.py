"""The OpenAPI document, made from the same structs that parse requests and write answers."""

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from weft.serve.api.audio import SpeechRequest
from weft.serve.api.completions import CompletionRequest, TextCompletion
from weft.serve.api.embeddings import EmbeddingRequest, Embeddings
from weft.serve.api.response_schema import ResponseRequest
from weft.serve.api.runs import Answer
from weft.serve.api.schema import ChatRequest, Chunk, Completion, ModelList, RunAnswer, RunRequest

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
        "stream": {"enum": ["true", "false"]},
    },
}
_EVENTS = {"application/json": {"schema": {"type": "object"}}, "text/event-stream": {"schema": {"type": "object"}}}
_TEXT = {
    "application/json": {"schema": {"type": "object", "required": ["text"]}},
    "text/plain": {},
    "text/event-stream": {},
}


_RUN_REFUSALS = ("400", "401", "403", "404", "408", "409", "413", "429", "500", "503")
_KINDS = (
    ChatRequest,
    Completion,
    Chunk,
    CompletionRequest,
    TextCompletion,
    ResponseRequest,
    EmbeddingRequest,
    Embeddings,
    SpeechRequest,
    RunRequest,
    RunAnswer,
    Answer,
    ModelList,
)


def document(agents: Iterable[str]) -> dict[str, Any]:
    """`agents`: what a request may name as its model."""
    shapes, components = msgspec.json.schema_components(_KINDS, ref_template=_REFERENCE)
    of = dict(zip(_KINDS, shapes, strict=True))
    for schema in components.values():
        if (
            "model" in schema.get("properties", {}) and "object" not in schema["properties"]
        ):  # what is asked, not answered
            schema["properties"]["model"] = {"enum": list(agents)}
    return {
        "openapi": "3.1.0",
        "info": {"title": "Weft", "version": "1"},
        "security": [{"key": []}, {}],
        "paths": {
            "/v1/chat/completions": {"post": _run("One agent run, whole or as events.", of[ChatRequest], _chat(of))},
            "/v1/completions": {"post": _run("The same for a prompt.", of[CompletionRequest], _text(of))},
            **_response_paths(of),
            "/v1/embeddings": {"post": _run("Texts as vectors.", of[EmbeddingRequest], _whole(of[Embeddings]))},
            "/v1/audio/transcriptions": {"post": _run("What an agent hears.", _FORM, _TEXT, "multipart/form-data")},
            "/v1/audio/speech": {
                "post": _run("What an agent says.", of[SpeechRequest], {"audio/wav": {}, "audio/pcm": {}})
            },
            "/v1/models/{model}": {"parameters": [_parameter("model")], "get": _about("One of them.", _plainly())},
            "/v1/models": {"get": {"summary": "The agents.", "responses": {**_ok(of[ModelList]), **_refusals("401")}}},
            **_run_paths(of),
            "/healthz": {"get": _plain("The server answers.", "200")},
            "/readyz": {"get": _plain("All nodes live (503: one died).", "200", "503")},
            "/metrics": {"get": _plain("Counters, as Prometheus reads them.", "200")},
            "/status": {"get": _plain("Agents, their nodes, and what control did: `weft top` shows it.", "200")},
            "/openapi.json": {"get": _plain("This document.", "200")},
        },
        "components": {
            "schemas": {**components, "Error": _ERROR},
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
        },
    }


def _response_paths(of: Mapping[type, object]) -> dict[str, object]:
    """Responses, and what is kept of them."""
    id, response = [_parameter("response")], _plainly()
    return {
        "/v1/responses": {"post": _run("The same, as a response.", of[ResponseRequest], _EVENTS)},
        "/v1/responses/{response}": {
            "parameters": id,
            "get": _about("One that is kept.", response),
            "delete": _about("Forgets it.", response),
        },
        "/v1/responses/{response}/cancel": {"parameters": id, "post": _about("Stops every step.", response)},
        "/v1/responses/{response}/input_items": {"parameters": id, "get": _about("What it answers.", response)},
    }


def _run_paths(of: Mapping[type, object]) -> dict[str, object]:
    """Durable runs and their sessions."""
    run, id = {"200": _json("The run.", of[RunAnswer])}, [_parameter("run")]
    anything: dict[str, object] = {}
    plain = _plainly()
    stream = {"200": {"description": "Events.", "content": {"text/event-stream": anything}}}
    begin = _run("Begins a run that nobody has to wait for.", of[RunRequest], {})
    begin["responses"] = {"202": _json("It is kept.", of[RunAnswer]), **_refusals(*_RUN_REFUSALS, "501")}
    answered = {"requestBody": {"required": True, "content": _whole(of[Answer])}}
    resume = {**_about("Answers the step that waits.", run), **answered}
    return {
        "/v1/runs": {"post": begin, "get": _about("The caller's runs, newest first.", plain)},
        "/v1/runs/{run}": {
            "parameters": id,
            "get": _about("Its state, answer and cost.", run),
            "delete": _about("Forgets one that has ended.", plain),
        },
        "/v1/runs/{run}/events": {"parameters": id, "get": _about("What happened, then what happens.", stream)},
        "/v1/runs/{run}/cancel": {"parameters": id, "post": _about("Stops every step.", run)},
        "/v1/runs/{run}/resume": {"parameters": id, "post": resume},
        "/v1/sessions": {"get": _about("The caller's conversations.", plain)},
        "/v1/sessions/{session}": {
            "parameters": [_parameter("session")],
            "get": _about("What was said.", plain),
            "delete": _about("Forgets it.", plain),
        },
    }


def _plainly() -> dict[str, object]:
    anything: dict[str, object] = {}
    return {"200": {"description": "As asked.", "content": {"application/json": anything}}}


def _about(summary: str, answers: Mapping[str, object]) -> dict[str, object]:
    refused = _refusals("400", "401", "403", "404", "408", "409", "413", "429", "500", "501")
    return {"summary": summary, "responses": {**answers, **refused}}


def _parameter(name: str) -> dict[str, object]:
    return {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}


def _whole(schema: object) -> dict[str, object]:
    return {"application/json": {"schema": schema}}


def _chat(of: Mapping[type, object]) -> dict[str, object]:
    return {**_whole(of[Completion]), "text/event-stream": {"schema": of[Chunk]}}


def _text(of: Mapping[type, object]) -> dict[str, object]:
    return {**_whole(of[TextCompletion]), "text/event-stream": {"schema": of[TextCompletion]}}


def _run(summary: str, request: object, answer: object, takes: str = "application/json") -> dict[str, object]:
    return {
        "summary": summary,
        "requestBody": {"required": True, "content": {takes: {"schema": request}}},
        "responses": {
            "200": {"description": "The answer.", "content": answer},
            **_refusals(*_RUN_REFUSALS),
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
