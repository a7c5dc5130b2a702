"""A named stream whose connection is lost goes on where its client was, at this gateway or at the next one."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from weft.serve.api.app import App
from weft.serve.api.http import Request, Stream, Whole
from weft.serve.stream_log import StreamLog

ASK: dict[str, Any] = {"model": "chat", "messages": [{"role": "user", "content": "What does an H100 cost?"}]}
TOOL: Any = {"type": "function", "function": {"name": "look", "parameters": {"type": "object", "properties": {}}}}
SCHEMA = {"type": "object", "properties": {"price": {"type": "integer"}}, "required": ["price"]}
DRAWN = {"temperature": 0.9, "seed": 5}
KINDS: dict[str, dict[str, Any]] = {
    "greedy": {},
    "unseeded": {"temperature": 1.2, "stream_options": {"include_usage": True}},
    "choices": {**DRAWN, "n": 2},
    "schema": {**DRAWN, "response_format": {"type": "json_schema", "json_schema": {"name": "p", "schema": SCHEMA}}},
    "tool": {**DRAWN, "tools": [TOOL], "tool_choice": "required"},
}


class Client:
    """Takes events until it has `most`, then hangs up: what comes in the same turn is lost."""

    def __init__(self, most: int = 10_000) -> None:
        self.events: list[bytes] = []
        self.started = False
        self._most = most
        self.task: asyncio.Task[None] | None = None

    def write(self, data: bytes) -> None:
        self.started = True
        for event in data.split(b"\n\n")[:-1]:
            if len(self.events) < self._most:
                self.events.append(event)
        if len(self.events) == self._most and self.task is not None:
            self.task.cancel()

    async def drain(self) -> None: ...


async def asked(app: App, body: dict[str, Any], client: Client, last: str = "", key: str = "k") -> Whole | None:
    """What was refused, if it was."""
    headers = {b"idempotency-key": key.encode()} | ({b"last-event-id": last.encode()} if last else {})
    reply = await app.answer(
        Request("POST", "/v1/chat/completions", "", headers, json.dumps({**body, "stream": True}).encode(), "r")
    )
    if isinstance(reply, Whole):
        return reply
    assert isinstance(reply, Stream)
    client.task = asyncio.ensure_future(reply.tell(client))
    await asyncio.gather(client.task, return_exceptions=True)
    return None


def last_id(events: list[bytes]) -> str:
    return next((each[4:].split(b"\n")[0].decode() for each in reversed(events) if each.startswith(b"id: ")), "")


def put_together(events: list[bytes]) -> dict[str, Any]:
    """What a client makes of them: each event adds."""
    told: dict[str, Any] = {"ids": set[str](), "done": 0, "usage": 0}
    for event in events:
        data = event[event.index(b"data: ") + 6 :]
        if data == b"[DONE]":
            told["done"] += 1
            continue
        chunk = json.loads(data)
        told["ids"].add((chunk["id"], chunk["created"]))
        told["usage"] += "usage" in chunk and not chunk["choices"]
        for choice in chunk["choices"]:
            name = f"choice {choice['index']}"
            told[name] = told.get(name, "") + (choice["delta"].get("content") or "")
            ends = [call["function"] for call in choice["delta"].get("tool_calls", ())]
            ends += [choice["finish_reason"]] if choice.get("finish_reason") else []
            told[f"{name} ends"] = told.get(f"{name} ends", []) + ends
    return told


def at_next(app: App) -> App:
    """The next gateway: nothing in memory."""
    return App(app.agents, streams=app.streams)


@pytest.mark.parametrize("kind", KINDS)
async def test_a_stream_goes_on_where_it_was_lost(app: App, tmp_path: Path, kind: str) -> None:
    app.streams = StreamLog(tmp_path)
    body, whole = {**ASK, **KINDS[kind], "max_tokens": 12}, Client()
    await asked(app, body, whole)
    expected = put_together(whole.events)
    for number, cut in enumerate({1, 4, len(whole.events) - 1}):
        gateway, key = at_next(app), f"k{number}" if "seed" in body or kind == "greedy" else "k"
        client = Client(min(cut, len(whole.events) - 1))
        for path in tmp_path.iterdir():
            path.unlink()
        await asked(gateway, body, client, key=key)
        lost = client.events
        for most in (2, 10_000):  # it is lost once more on its way
            client = Client(most)
            assert await asked(at_next(app), body, client, last_id(lost), key) is None
            lost = [*lost, *client.events]
            if b"data: [DONE]" in lost:
                break
        told = put_together(lost)
        assert len(told.pop("ids")) == 1
        assert told == {name: value for name, value in expected.items() if name != "ids"}, (kind, cut)


async def test_what_was_kept_whole_is_told_from_there_on(app: App, tmp_path: Path) -> None:
    app.streams = StreamLog(tmp_path)
    whole, rest = Client(), Client()
    await asked(app, ASK, whole)
    await asked(app, ASK, rest, last_id(whole.events[:3]))
    assert whole.events[:3] + rest.events == whole.events
    again = Client()
    await asked(at_next(app), ASK, again)  # of one that ended the log has all
    assert put_together(again.events) == put_together(whole.events)


async def test_what_cannot_go_on_is_refused(app: App, tmp_path: Path) -> None:
    app.streams = StreamLog(tmp_path)
    for last, status, code in (("7.0", 409, "stream_is_gone"), ("seven", 400, None), ("-1.0", 400, None)):
        refused = await asked(app, ASK, Client(), last)
        assert refused and refused.status == status
        assert json.loads(refused.body)["error"]["code"] == (code or "invalid_value")
    await asked(app, ASK, Client())
    refused = await asked(at_next(app), {**ASK, "max_tokens": 3}, Client())
    assert refused and json.loads(refused.body)["error"]["code"] == "idempotency_key_reused"
    plain = Client()
    await asked(app, {**ASK, "logprobs": True}, plain, key="other")
    assert not last_id(plain.events)


async def test_streams_that_nobody_asks_for_again_are_forgotten(app: App, tmp_path: Path) -> None:
    app.streams = StreamLog(tmp_path, keep_s=0.0)
    await asked(app, ASK, Client())
    await asked(app, ASK, Client(), key="other")
    assert len(list(tmp_path.iterdir())) == 1
    cut = next(tmp_path.iterdir())
    cut.write_bytes(cut.read_bytes()[:-5])  # a process may die in the middle of a line
    app.streams.keep_s = 600.0
    again = Client()
    await asked(at_next(app), ASK, again, key="other")
    assert put_together(again.events)["done"] == 1
