"""Every documented operation with what it should not get: an answer in OpenAI's form each time, and never a 500."""

import json
from typing import Any, cast

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.serve.api.test_runs_api import keeping as keeping
from weft.serve.api.app import App
from weft.serve.api.http import Request, Stream, Whole
from weft.serve.api.openapi import document

USER: Any = [{"role": "user", "content": "hi"}]
FORM = (
    b'--b\r\nContent-Disposition: form-data; name="model"\r\n\r\near\r\n'
    b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\n\r\nRIFF\r\n--b--\r\n'
)
BODIES: dict[str, Any] = {
    "/v1/chat/completions": {"model": "chat", "messages": USER, "max_tokens": 1},
    "/v1/completions": {"model": "chat", "prompt": "hi", "max_tokens": 1},
    "/v1/responses": {"model": "chat", "input": "hi", "max_output_tokens": 1},
    "/v1/embeddings": {"model": "chat", "input": "hi"},
    "/v1/audio/speech": {"model": "speaker", "input": "hi", "voice": "alloy"},
    "/v1/runs": {"model": "chat", "messages": USER, "max_tokens": 1},
    "/v1/runs/{run}/resume": {"answer": "yes"},
}
OPERATIONS = [
    (path, method.upper())
    for path, methods in document(["chat"])["paths"].items()
    for method in methods
    if method != "parameters"
]
DEEP = "[" * 100_000


class Kept:
    """A sink that keeps what a stream says."""

    def __init__(self) -> None:
        self.said = b""

    @property
    def started(self) -> bool:
        return bool(self.said)

    def write(self, data: bytes) -> None:
        self.said += data

    async def drain(self) -> None: ...


async def answered(app: App, method: str, path: str, body: bytes = b"", query: str = "", **headers: str) -> Whole:
    """A stream as a whole; checks the form of a refusal."""
    named = {name.replace("_", "-").encode(): value.encode() for name, value in headers.items()}
    reply = await app.answer(Request(method, path, query, named, body, "r1"))
    if isinstance(reply, Stream):
        sink = Kept()
        await reply.tell(sink)
        reply = Whole(200, sink.said, reply.content_type)
    if reply.status >= 400 and path != "/readyz":
        told = json.loads(reply.body)["error"]
        assert told["message"] and told["code"] and told.keys() == {"message", "type", "param", "code"}
    return reply


def chat(**more: object) -> bytes:
    return json.dumps({**BODIES["/v1/chat/completions"], **more}).encode()


TOOL: Any = {"type": "function", "function": {"name": "f"}}
HUGE = 2**80
HOSTILE: dict[str, bytes] = {
    "empty": b"",
    "not json": b"{",
    "not utf-8": b'{"model": "\xff"}',
    "an array": b"[]",
    "deep": DEEP.encode(),
    "deep schema": chat(response_format={"type": "json_schema", "json_schema": {"name": "x", "schema": {}}})[:-4]
    + b'"a": '
    + DEEP.encode(),
    "half a surrogate": b'{"model": "chat", "messages": [{"role": "user", "content": "\\ud800"}]}',
    "huge seed": chat(seed=HUGE, temperature=1),
    "negative seed": chat(seed=-HUGE, temperature=1),
    "huge top_k": chat(top_k=HUGE, temperature=1),
    "negative top_k": chat(top_k=-1),
    "huge max_tokens": chat(max_tokens=HUGE),
    "infinite temperature": chat()[:-1] + b', "temperature": 1e999}',
    "negative temperature": chat(temperature=-1),
    "huge penalty": chat(presence_penalty=1e300),
    "empty stop": chat(stop=["", "a"]),
    "bad schema": chat(tools=[{**TOOL, "function": {"name": "f", "parameters": {"type": 7}}}]),
    "two tools": chat(tools=[TOOL, TOOL]),
    "wide schema": chat(
        response_format={"type": "json_schema", "json_schema": {"name": "x", "schema": {"maxItems": HUGE}}}
    ),
    "bad pattern": chat(
        response_format={"type": "json_schema", "json_schema": {"name": "x", "schema": {"pattern": "(" * 300}}}
    ),
    "no messages": chat(messages=[]),
    "unknown model": chat(model="nobody"),
    "control characters in a session": chat(session="\x00"),
}
STRANGE: dict[str, bytes] = {
    "endless schema": chat(tools=[{**TOOL, "function": {"name": "f", "parameters": {"$ref": "#"}}}]),
    "nul": chat(messages=[{"role": "user", "content": "\x00"}]),
    "largest seed": chat(seed=2**63 - 1, temperature=1),
    "smallest seed": chat(seed=-(2**63), temperature=1),
    "all alike": chat(temperature=1e300),
    "a name of another script": chat(metadata={"ключ": "значение"}),
}


@pytest.mark.parametrize("strange", STRANGE)
async def test_what_is_only_strange_is_answered(keeping: App, strange: str) -> None:
    reply = await answered(keeping, "POST", "/v1/chat/completions", STRANGE[strange])
    assert reply.status == 200, reply.body[:300]


@pytest.mark.parametrize("hostile", HOSTILE)
@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/runs"])
async def test_what_breaks_parsers_is_refused(keeping: App, path: str, hostile: str) -> None:
    if "session" not in hostile or path == "/v1/runs":
        reply = await answered(keeping, "POST", path, HOSTILE[hostile])
        assert 400 <= reply.status < 500, (reply.status, reply.body[:300])


async def test_a_step_that_waits_for_a_person_needs_a_durable_run(keeping: App) -> None:
    body = json.dumps({"model": "reviewed", "messages": USER}).encode()
    refused = await answered(keeping, "POST", "/v1/chat/completions", body)
    assert refused.status == 400 and b"submit the run at /v1/runs" in refused.body
    assert (await answered(keeping, "POST", "/v1/runs", body)).status == 202


PATHS = ("/v1/runs/" + "9" * 5000, "/v1/sessions/" + "x" * 5000, "/v1/sessions/\x00", "/v1/runs/\x00/events")


@pytest.mark.parametrize("path", PATHS, ids=["long run", "long session", "nul session", "nul run"])
async def test_names_in_paths_may_be_anything(keeping: App, path: str) -> None:
    for method in ("GET", "DELETE", "POST", "PUT"):
        assert (await answered(keeping, method, path)).status < 500


async def test_headers_may_be_anything(keeping: App) -> None:
    run = json.loads((await answered(keeping, "POST", "/v1/runs", chat())).body)["id"]
    for last in ("9" * 5000, str(2**63), "-" + str(2**63), "-", "²", "٣"):
        assert (await answered(keeping, "GET", f"/v1/runs/{run}/events", last_event_id=last)).status < 500
    for name in ("x_session_id", "x_agent_hints", "x_request_timeout_s", "idempotency_key", "authorization"):
        for value in ("", "\x00", "x" * 5000, "nan", "-1", "1e999", '{"priority": 1e999}', "{" * 5000):
            reply = await answered(keeping, "POST", "/v1/chat/completions", chat(), **{name: value})
            assert reply.status < 500, (name, value)
    for query in ("limit=" + "9" * 5000, "limit=-1", "after=x", "status=x", "limit=%00", "&&==", "limit=1&limit=2"):
        assert (await answered(keeping, "GET", "/v1/runs", query=query)).status < 500
    body = json.dumps(BODIES["/v1/responses"]).encode()
    id = json.loads((await answered(keeping, "POST", "/v1/responses", body)).body)["id"]
    for after in ("9" * 18, "9" * 5000, "-1", "²", "", "%00"):
        for query in (f"stream=true&starting_after={after}", f"limit={after}", f"after={after}", f"order={after}"):
            for path in (f"/v1/responses/{id}", f"/v1/responses/{id}/input_items"):
                assert (await answered(keeping, "GET", path, query=query)).status < 500


ANY = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


def mangled(body: object) -> st.SearchStrategy[object]:
    """The same with something else in one place, or one thing more, or less."""
    if isinstance(body, dict):
        fields = cast("dict[str, object]", body)
        return st.sampled_from(sorted(fields)).flatmap(
            lambda name: st.one_of(
                mangled(fields[name]).map(lambda value: {**fields, name: value}),
                st.just({key: value for key, value in fields.items() if key != name}),
                ANY.map(lambda value: {**fields, "metadata": value}),
            )
        )
    return ANY


@pytest.mark.parametrize(("path", "method"), OPERATIONS)
@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
async def test_no_operation_has_a_fault(keeping: App, path: str, method: str, data: st.DataObject) -> None:
    body = BODIES.get(path)
    said = json.dumps(data.draw(mangled(body))).encode() if body else FORM if "transcriptions" in path else b""
    cut = data.draw(st.integers(0, len(said)) | st.just(len(said)))
    named = path.replace("{run}", "run_x").replace("{session}", data.draw(st.text(max_size=8)) or "x")
    headers = {"content_type": "multipart/form-data; boundary=b"} if "transcriptions" in path else {}
    assert (await answered(keeping, method, named, said[:cut], **headers)).status != 500
