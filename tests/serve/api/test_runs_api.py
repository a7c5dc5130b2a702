"""/v1/runs and /v1/sessions as a caller sees them."""

import asyncio
import base64
import http.server
import json
import threading
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import openai
import pytest

from tests.serve.api.test_app import ask
from tests.serve.runs.conftest import reviewed
from tests.serve.runs.opening import opened_runs
from weft.runtime.client import NodeClient
from weft.serve.agents import ServedAgent
from weft.serve.api.app import App
from weft.serve.api.keys import Caller, Keys, digest_of
from weft.serve.runs.webhooks import Webhooks

SECRET = "whsec_" + base64.b64encode(b"s" * 24).decode()
ALICE, BOB = "weft-alice-is-a-long-key-1", "weft-bob-has-a-long-key-too"


@pytest.fixture
async def keeping(app: App, clients: dict[str, NodeClient], tmp_path: Path) -> AsyncIterator[App]:
    """The application, with a log of runs."""
    agents = {**app.agents.by_name, "reviewed": ServedAgent(reviewed(), clients)}
    app.agents = type(app.agents)(agents)
    webhooks = Webhooks(b"s" * 24, frozenset({"127.0.0.1"}), first_retry_s=0.05)
    async with opened_runs(agents, str(tmp_path / "runs.db"), webhooks=webhooks) as app.runs:
        yield app


def body(model: str, text: str, **more: object) -> bytes:
    return json.dumps({"model": model, "messages": [{"role": "user", "content": text}], **more}).encode()


async def ended(app: App, id: str, **headers: str) -> dict[str, Any]:
    async with asyncio.timeout(20):
        while True:
            _, run, _ = await ask(app, "GET", f"/v1/runs/{id}", **headers)
            if run["status"] not in ("queued", "in_progress"):
                return run
            await asyncio.sleep(0.01)


def events_of(stream: bytes) -> list[tuple[str, str, Any]]:
    found = list[tuple[str, str, Any]]()
    for block in stream.decode().strip().split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.splitlines() if not line.startswith(":"))
        if fields:
            found.append((fields.get("id", ""), fields["event"], json.loads(fields["data"])))
    return found


async def test_a_run_is_submitted_polled_and_followed(keeping: App) -> None:
    status, run, _ = await ask(keeping, "POST", "/v1/runs", body("loop", "ab", metadata={"a": "b"}))
    assert (status, run["object"], run["metadata"]) == (202, "run", {"a": "b"})
    done = await ended(keeping, run["id"])
    assert (done["status"], done["output"]) == ("completed", "ABAB!!!!")
    assert done["usage"]["usd"] == pytest.approx(0.25 * len(done["usage"]["steps"]))
    _, stream, _ = await ask(keeping, "GET", f"/v1/runs/{run['id']}/events")
    events = events_of(stream)
    assert events[-1][1:] == ("run.completed", {**events[-1][2], "values": ["ABAB!!!!"]})
    assert [id for id, _, _ in events] == [str(number) for number in range(len(events))]
    _, rest, _ = await ask(keeping, "GET", f"/v1/runs/{run['id']}/events", last_event_id="3")
    assert events_of(rest) == events[4:]
    _, listed, _ = await ask(keeping, "GET", "/v1/runs")
    assert [each["id"] for each in listed["data"]] == [run["id"]]
    assert (await ask(keeping, "DELETE", f"/v1/runs/{run['id']}"))[1]["deleted"]
    assert (await ask(keeping, "GET", f"/v1/runs/{run['id']}"))[0] == 404


async def test_a_person_answers_what_a_run_asks(keeping: App) -> None:
    _, run, _ = await ask(keeping, "POST", "/v1/runs", body("reviewed", "ab"))
    waiting = await ended(keeping, run["id"])
    assert (waiting["status"], waiting["required_action"]) == ("requires_action", {"approve": "AB"})
    path = f"/v1/runs/{run['id']}/resume"
    assert (await ask(keeping, "POST", path, b'{"answer": "x", "step": "sign"}'))[0] == 409
    assert (await ask(keeping, "DELETE", f"/v1/runs/{run['id']}"))[0] == 409
    status, _, _ = await ask(keeping, "POST", path, b'{"answer": "fine"}')
    assert status == 200
    assert (await ended(keeping, run["id"]))["output"] == "fine!"
    assert (await ask(keeping, "POST", path, b'{"answer": "late"}'))[0] == 409


async def test_a_cancelled_run_has_stopped(keeping: App) -> None:
    _, run, _ = await ask(keeping, "POST", "/v1/runs", body("loop", "hang"))
    await asyncio.sleep(0.05)
    _, cancelled, _ = await ask(keeping, "POST", f"/v1/runs/{run['id']}/cancel")
    assert (cancelled["status"], keeping.agents.running) == ("cancelled", 0)


async def test_a_key_begins_one_run(keeping: App) -> None:
    asked = body("loop", "ab")
    runs = [(await ask(keeping, "POST", "/v1/runs", asked, idempotency_key="k"))[1]["id"] for _ in range(2)]
    assert runs[0] == runs[1]
    status, answer, _ = await ask(keeping, "POST", "/v1/runs", body("loop", "b"), idempotency_key="k")
    assert (status, answer["error"]["code"]) == (409, "idempotency_key_reused")


async def test_what_is_anothers_is_not_there(keeping: App) -> None:
    callers = {digest_of(ALICE): Caller("a", "alice"), digest_of(BOB): Caller("b", "bob")}
    keeping.guard.keys = Keys(callers)
    alice, bob = {"authorization": f"Bearer {ALICE}"}, {"authorization": f"Bearer {BOB}"}
    _, run, _ = await ask(keeping, "POST", "/v1/runs", body("loop", "ab", session="s"), **alice)
    await ended(keeping, run["id"], **alice)
    for method, path in (("GET", ""), ("GET", "/events"), ("POST", "/cancel"), ("DELETE", "")):
        assert (await ask(keeping, method, f"/v1/runs/{run['id']}{path}", **bob))[0] == 404
    assert (await ask(keeping, "GET", "/v1/runs", **bob))[1]["data"] == []
    assert (await ask(keeping, "GET", "/v1/sessions/s", **bob))[0] == 404
    said = (await ask(keeping, "GET", "/v1/sessions/s", **alice))[1]["messages"]
    assert [each["content"] for each in said] == ["ab", "ABAB!!!!"]


async def test_a_session_goes_on_where_it_was(keeping: App) -> None:
    for number in (1, 2):
        _, run, _ = await ask(keeping, "POST", "/v1/runs", body("chat", f"hello {number}"), x_session_id="talk")
        done = await ended(keeping, run["id"])
        said = (await ask(keeping, "GET", "/v1/sessions/talk"))[1]["messages"]
        assert len(said) == 2 * number
        assert said[-1]["content"] == done["output"]
    assert done["usage"]["prompt_tokens"] > 40  # what was said before is in the prompt
    assert [each["id"] for each in (await ask(keeping, "GET", "/v1/sessions"))[1]["data"]] == ["talk"]
    await ask(keeping, "DELETE", "/v1/sessions/talk")
    assert (await ask(keeping, "GET", "/v1/sessions/talk"))[0] == 404


@pytest.mark.parametrize(
    ("method", "path", "sent", "status"),
    [
        ("POST", "/v1/runs", b'{"model": "loop"}', 400),
        ("POST", "/v1/runs", body("nobody", "x"), 404),
        ("POST", "/v1/runs", body("loop", "x", webhook="http://10.0.0.1/x"), 400),
        ("POST", "/v1/runs", body("loop", "x", session="x" * 300), 400),
        ("GET", "/v1/runs/nothing", b"", 404),
        ("GET", "/v1/runs/nothing/events", b"", 404),
        ("POST", "/v1/runs/nothing/resume", b"{}", 400),
        ("PUT", "/v1/runs/nothing", b"", 405),
    ],
)
async def test_refusals(keeping: App, method: str, path: str, sent: bytes, status: int) -> None:
    assert (await ask(keeping, method, path, sent))[0] == status


async def test_a_server_without_a_log_says_so(app: App) -> None:
    status, answer, _ = await ask(app, "POST", "/v1/runs", body("loop", "x"))
    assert (status, answer["error"]["code"]) == (501, "runs_are_not_kept")


@pytest.fixture
def listener() -> Iterator[tuple[str, list[tuple[dict[str, str], bytes]]]]:
    """A server that refuses the first message and takes the second."""
    heard = list[tuple[dict[str, str], bytes]]()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            sent = self.rfile.read(int(self.headers["content-length"]))
            heard.append(({name.lower(): value for name, value in self.headers.items()}, sent))
            self.send_response(503 if len(heard) == 1 else 204)
            self.end_headers()

        def log_message(self, *_: object) -> None: ...

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}/hook", heard
        server.shutdown()


async def test_a_webhook_is_signed_and_tried_again(
    keeping: App, listener: tuple[str, list[tuple[dict[str, str], bytes]]]
) -> None:
    url, heard = listener
    assert keeping.runs is not None
    keeping.runs.log.clock = lambda: time.time() + (1e6 if not heard else 0)  # it jumps back before the second try
    _, run, _ = await ask(keeping, "POST", "/v1/runs", body("loop", "ab", webhook=url))
    async with asyncio.timeout(20):
        while len(heard) < 2:
            await asyncio.sleep(0.02)
    (first, said), (again, said_again) = heard
    assert (first["webhook-id"], said) == (again["webhook-id"], said_again)
    told = json.loads(said)
    assert (told["type"], told["data"]["id"]) == ("run.completed", run["id"])
    client = openai.OpenAI(api_key="none", webhook_secret=SECRET)
    client.webhooks.verify_signature(said, again)  # raises where it does not hold
    with pytest.raises(openai.InvalidWebhookSignatureError):
        client.webhooks.verify_signature(said + b" ", again)


async def test_a_run_that_nobody_waits_for_is_charged_too(keeping: App) -> None:
    alice = Caller("alice", "acme", usd_per_day=4.0)
    keeping.guard.keys = Keys({digest_of(ALICE): alice})
    assert keeping.runs is not None
    keeping.runs.used = keeping.guard.used
    headers = {"authorization": f"Bearer {ALICE}"}
    for left in (1.25, 0.0):
        status, run, _ = await ask(keeping, "POST", "/v1/runs", body("loop", "ab"), **headers)
        assert status == 202 and (await ended(keeping, run["id"], **headers))["usage"]["usd"] == 2.75
        told = keeping.guard.spending.headers(alice, time.monotonic())["x-ratelimit-remaining-dollars"]
        assert float(told) == pytest.approx(left, abs=0.01)
    assert (await ask(keeping, "POST", "/v1/runs", body("loop", "ab"), **headers))[0] == 429
