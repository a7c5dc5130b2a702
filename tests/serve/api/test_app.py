"""What a client can do wrong, and what then happens to the others."""

import asyncio
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.serve.api.conftest import Serve
from weft.core.errors import (
    AudioError,
    DeploymentError,
    InputError,
    NodeDiedError,
    NoToolsError,
    RequestError,
    StepFailedError,
    WeftError,
)
from weft.runtime.client import NodeClient
from weft.serve.api.app import ROUTES, App
from weft.serve.api.errors import as_api_error
from weft.serve.api.http import Limits
from weft.serve.api.keys import Caller, Keys, digest_of
from weft.serve.api.routes import canonical
from weft.serve.server import Address, check_open

CHAT = {"model": "chat", "messages": [{"role": "user", "content": "hello"}]}
SOUND = {"type": "input_audio", "input_audio": {"data": "", "format": "wav"}}
KEY = "weft-a-key-of-enough-characters"
LOOP = {"model": "loop", "messages": [{"role": "user", "content": "hang"}]}


async def ask(app: App, method: str, path: str, body: bytes = b"", **headers: str) -> tuple[int, Any, dict[str, str]]:
    """One request straight into the application."""
    lines = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    scope = {"type": "http", "method": method, "path": path, "headers": lines}
    sent: list[Any] = []
    first = True

    async def receive() -> dict[str, Any]:
        nonlocal first
        if first:
            first = False
            return {"type": "http.request", "body": body}
        await asyncio.sleep(60)
        return {"type": "http.disconnect"}

    async def send(event: Any) -> None:
        sent.append(event)

    await app(scope, receive, send)
    answer = b"".join(event.get("body", b"") for event in sent)
    told = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
    return sent[0]["status"], json.loads(answer) if told["content-type"] == "application/json" else answer, told


@pytest.mark.parametrize("stream", [False, True])
async def test_a_prompt_beyond_the_context_is_the_callers(app: App, stream: bool) -> None:
    asked = {"model": "chat", "messages": [{"role": "user", "content": "memory " * 600}], "stream": stream}
    status, answer, _ = await ask(app, "POST", "/v1/chat/completions", json.dumps(asked).encode())
    told = (status, *(answer["error"][name] for name in ("type", "code", "param")))
    assert told == (400, "invalid_request_error", "context_length_exceeded", "messages")


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (NoToolsError, 400, "tools_not_supported"),
        (RequestError, 400, "invalid_input"),
        (AudioError, 400, "invalid_input"),
        (DeploymentError, 503, "not_deployed"),
        (StepFailedError, 500, "run_failed"),
    ],
)
def test_what_failed_has_its_status(error: type[WeftError], status: int, code: str) -> None:
    told = as_api_error(error(subject="a", problem="b", way_out="c"))
    assert (told.status, told.code) == (status, code)


@pytest.mark.parametrize(
    ("body", "param", "message"),
    [
        (b"{", None, "not JSON"),
        (b"\xff\xfe", None, "not JSON"),
        (b"[]", None, "Expected `object`"),
        (b"{}", None, "missing required field `model`"),
        (b'{"model": 3, "messages": []}', "model", "Expected `str`"),
        (b'{"model": "chat", "messages": []}', "messages", "empty"),
        (b'{"model": "chat", "messages": [{"role": "king", "content": "x"}]}', "messages[0].role", "king"),
        (b'{"model": "chat", "messages": [{"role": "user"}]}', "messages[0].content", "empty"),
        (b'{"model": "chat", "messages": [{"role": "user", "content": "x"}], "n": 17}', "n", "Expected `int` <= 16"),
        (b'{"model": "loop", "messages": [{"role": "assistant", "content": "x"}]}', "messages", "end with one of"),
        (
            json.dumps({"model": "loop", "messages": [{"role": "user", "content": [SOUND]}]}).encode(),
            "messages[0].content",
            "does not listen",
        ),
    ],
)
async def test_a_bad_request_names_its_field(app: App, body: bytes, param: str | None, message: str) -> None:
    status, answer, headers = await ask(app, "POST", "/v1/chat/completions", body)
    assert (status, answer["error"]["param"]) == (400, param)
    assert message in answer["error"]["message"]
    assert headers["x-request-id"]


async def test_paths_and_methods(app: App) -> None:
    assert (await ask(app, "GET", "/v1/chat/completions"))[0] == 405
    assert (await ask(app, "GET", "/v1/nothing"))[0] == 404
    assert (await ask(app, "GET", "/healthz"))[:2] == (200, {"status": "ok"})
    assert (await ask(app, "GET", "/openapi.json"))[1]["openapi"] == "3.1.0"


async def test_a_path_has_one_spelling(app: App) -> None:
    assert (await ask(app, "GET", "/v1/models/chat"))[0] == (await ask(app, "HEAD", "/v1/models"))[0] == 200
    for path in ("/v1%2Fmodels", "//v1/models", "/v1/models/", "/v1/../metrics", "/V1/models", "*"):
        assert (await ask(app, "GET", path))[0] == 404
    assert canonical("/v1/%72uns/a%2Fb") == "/v1/runs/a%2Fb"
    assert ROUTES.find(canonical("/v1/%72uns/a%2Fb%25"), "GET")[1] == {"run": "a/b%"}


@pytest.mark.parametrize(
    ("origin", "status"),
    [
        ("https://evil.example", 403),
        ("null", 403),
        ("http://[", 403),
        ("http://localhost:3000", 200),
        ("http://chat.corp", 200),
    ],
)
async def test_pages_of_others_need_a_key(app: App, origin: str, status: int) -> None:
    """A browser sends this without asking, where the body calls itself text."""
    headers = {"origin": origin, "host": "chat.corp", "content_type": "text/plain"}
    body = json.dumps({**LOOP, "messages": [{"role": "user", "content": "a"}]}).encode()
    assert (await ask(app, "POST", "/v1/chat/completions", body, **headers))[0] == status
    app.guard.keys = Keys({digest_of(KEY): Caller("a", "a")})
    assert (await ask(app, "GET", "/v1/models", authorization="Bearer " + KEY, **headers))[0] == 200


async def test_each_answer_has_the_name_of_its_request(app: App) -> None:
    for path in ("/v1/models", "/v1/nothing", "/v1/responses/x"):
        assert (await ask(app, "GET", path, x_request_id="mine"))[2]["x-request-id"] == "mine"
    body = b"\xef\xbb\xbf" + json.dumps({**LOOP, "messages": [{"role": "user", "content": "a"}]}).encode()
    status, _, headers = await ask(app, "POST", "/v1/chat/completions", body, x_request_id="mine")
    assert (status, headers["x-request-id"]) == (200, "mine")  # some systems put a mark before all they write


async def test_large_and_slow_bodies_are_cut(app: App) -> None:
    app.limits = Limits(body_bytes=1000, body_s=0.05)
    assert (await ask(app, "POST", "/v1/chat/completions", b"x" * 1001))[0] == 413
    assert (await ask(app, "POST", "/v1/chat/completions", content_length="1001"))[0] == 413

    async def never() -> dict[str, Any]:
        await asyncio.sleep(60)
        return {}

    sent: list[Any] = []

    async def send(event: Any) -> None:
        sent.append(event)

    scope = {"type": "http", "method": "POST", "path": "/v1/chat/completions", "headers": []}
    await app(scope, never, send)
    assert sent[0]["status"] == 408


async def test_more_than_at_once_are_refused_at_once(app: App) -> None:
    app.at_once = 1
    slow = asyncio.create_task(ask(app, "POST", "/v1/chat/completions", json.dumps(LOOP).encode()))
    await asyncio.sleep(0.1)
    status, answer, headers = await ask(app, "POST", "/v1/chat/completions", json.dumps(CHAT).encode())
    assert (status, answer["error"]["type"], headers["retry-after"]) == (429, "rate_limit_error", "1")
    assert (await slow)[0] == 200
    app.draining = True
    assert (await ask(app, "POST", "/v1/chat/completions", json.dumps(CHAT).encode()))[0] == 503


async def test_a_run_that_takes_too_long_is_ended(app: App) -> None:
    app.agents.by_name["loop"].run_s = 0.1
    status, answer, _ = await ask(app, "POST", "/v1/chat/completions", json.dumps(LOOP).encode())
    assert status == 500
    assert "had not ended after 0.1 s" in answer["error"]["message"]


async def test_who_hangs_up_ends_the_run(app: App, served: Serve) -> None:
    body = json.dumps({**LOOP, "stream": True}).encode()
    async with served(app) as url:
        _, writer = await asyncio.open_connection("127.0.0.1", int(url.rsplit(":", 1)[1]))
        head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: {len(body)}\r\n\r\n"
        writer.write(head.encode() + body)
        async with asyncio.timeout(5):
            while app.agents.running == 0:
                await asyncio.sleep(0.01)
            writer.close()
            while app.agents.by_name["loop"].cancelled == 0:
                await asyncio.sleep(0.01)
    assert app.agents.running == 0


async def test_a_dead_node_is_told(app: App, clients: dict[str, NodeClient]) -> None:
    assert (await ask(app, "GET", "/readyz"))[0] == 200
    clients["llm"].fail(NodeDiedError(subject="node 'llm'", problem="was shot", way_out="run again"))
    assert (await ask(app, "GET", "/readyz"))[:2] == (503, {"status": "a node died", "dead": ["llm"]})
    status, answer, _ = await ask(app, "POST", "/v1/chat/completions", json.dumps(CHAT).encode())
    assert status == 503
    assert "was shot" in answer["error"]["message"]
    body = json.dumps(LOOP | {"messages": [{"role": "user", "content": "a"}]}).encode()
    assert (await ask(app, "POST", "/v1/chat/completions", body))[0] == 200  # it needs no model
    _, metrics, _ = await ask(app, "GET", "/metrics")
    assert b"weft_nodes_dead 1.0" in metrics
    assert b'weft_runs_total{agent="chat",outcome="failed"} 1.0' in metrics


@pytest.mark.parametrize(
    ("content_type", "body", "message"),
    [
        ("text/plain", b"", "multipart/form-data"),
        ("multipart/form-data", b"", "multipart/form-data"),
        ("multipart/form-data; boundary=x", b"--y\r\n", "cannot be read"),
        ("multipart/form-data; boundary=x", b"--x--\r\n", "has no model"),
    ],
)
async def test_bad_forms(app: App, content_type: str, body: bytes, message: str) -> None:
    status, answer, _ = await ask(app, "POST", "/v1/audio/transcriptions", body, content_type=content_type)
    assert status == 400
    assert message in answer["error"]["message"]


async def test_keys(app: App, tmp_path: Path) -> None:
    path = tmp_path / "keys"
    path.write_text(f"# ours\n{digest_of(KEY)} alice\n")
    app.guard.keys = Keys.read(path)
    for given in ("", "Bearer wrong", "Basic " + KEY):
        status, answer, headers = await ask(app, "GET", "/v1/models", authorization=given)
        assert (status, answer["error"]["type"]) == (401, "authentication_error")
        assert headers["www-authenticate"] == "Bearer"
    assert (await ask(app, "GET", "/v1/models", authorization="Bearer " + KEY))[0] == 200
    assert (await ask(app, "GET", "/healthz"))[0] == 200  # a probe has no key
    path.write_text(f"{KEY} alice\n")
    with pytest.raises(InputError, match="keys:1: is not"):
        Keys.read(path)


def test_nothing_listens_to_other_machines_without_keys() -> None:
    with pytest.raises(InputError, match="other machines can reach it"):
        check_open(Address("0.0.0.0"), Keys({}))
    for host in ("127.0.0.1", "::1", "localhost"):
        check_open(replace(Address(), host=host), Keys({}))
