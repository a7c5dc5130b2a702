"""Keys, limits, idempotency keys and the audit log, around any endpoint."""

import asyncio
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.serve.api.test_app import CHAT, LOOP, ask
from weft.core.errors import InputError
from weft.runtime.conversations.sqlite import SqliteDatabase
from weft.serve.api.app import App
from weft.serve.api.audit import Audit
from weft.serve.api.errors import ApiError
from weft.serve.api.http import Request, Stream
from weft.serve.api.keys import Caller, Keys, digest_of
from weft.serve.api.ledger import Ledger
from weft.serve.api.spending import Spending

KEY, OTHER = "weft-a-key-of-enough-characters", "weft-another-key-that-is-long"
BEARER = {"authorization": f"Bearer {KEY}"}
SAY = json.dumps({"model": "loop", "messages": [{"role": "user", "content": "ab"}]}).encode()


def keys(app: App, path: Path, options: str) -> None:
    path.write_text(f"{digest_of(KEY)} alice {options}\n")
    app.guard.keys = Keys.read(path)


async def test_a_key_opens_what_its_scopes_say(app: App, tmp_path: Path) -> None:
    keys(app, tmp_path / "keys", "tenant=acme scopes=chat,models")
    assert (await ask(app, "POST", "/v1/chat/completions", SAY, **BEARER))[0] == 200
    assert (await ask(app, "GET", "/v1/models", **BEARER))[0] == 200
    for path in ("/v1/audio/speech", "/v1/runs"):
        status, answer, _ = await ask(app, "POST", path, b"{}", **BEARER)
        error = answer["error"]
        assert (status, error["code"], error["type"]) == (403, "insufficient_scope", "permission_error")


async def test_a_key_expires_and_a_short_one_never_opens(app: App, tmp_path: Path) -> None:
    keys(app, tmp_path / "keys", "expires=2020-01-01")
    assert (await ask(app, "GET", "/v1/models", **BEARER))[1]["error"]["code"] == "expired_api_key"
    (tmp_path / "keys").write_text(f"{digest_of('short')} alice\n")
    app.guard.keys = Keys.read(tmp_path / "keys")
    status, answer, _ = await ask(app, "GET", "/v1/models", authorization="Bearer short")
    assert (status, answer["error"]["code"]) == (401, "weak_api_key")


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ("expires=soon", "Invalid RFC3339"),
        ("scopes=everything", "knows no scope everything"),
        ("requests_per_minute=0", "not above 0"),
        ("colour=red", "unknown field `colour`"),
        (f"tenant={'é' * 25}", "a tenant of more than 48 bytes"),
    ],
)
def test_a_wrong_option_is_refused(tmp_path: Path, options: str, problem: str) -> None:
    (tmp_path / "keys").write_text(f"{digest_of(KEY)} alice {options}\n")
    with pytest.raises(InputError, match=problem):
        Keys.read(tmp_path / "keys")


def test_keys_are_read_again_when_their_file_changes(tmp_path: Path) -> None:
    path, now_s = tmp_path / "keys", 1000.0
    path.write_text(f"{digest_of(KEY)} alice\n")
    read = Keys.read(path, clock=lambda: now_s)
    path.write_text(f"{digest_of(OTHER)} bob rotated\n")
    assert read.caller(f"Bearer {KEY}").name == "alice"  # it looks once a second
    now_s += 2
    assert read.caller(f"Bearer {OTHER}").name == "bob rotated"
    with pytest.raises(ApiError, match="not known here"):
        read.caller(f"Bearer {KEY}")
    path.write_text("nonsense\n")
    now_s += 2
    assert read.caller(f"Bearer {OTHER}").name == "bob rotated"
    path.unlink()
    now_s -= 1e6  # a clock that jumps back
    with pytest.raises(ApiError, match="not known here"):
        read.caller(f"Bearer {KEY}")


async def test_what_a_tenant_used_up_is_refused(app: App, tmp_path: Path) -> None:
    keys(app, tmp_path / "keys", "requests_per_minute=2 usd_per_day=100")
    answers = [await ask(app, "POST", "/v1/chat/completions", SAY, **BEARER) for _ in range(3)]
    assert [status for status, _, _ in answers] == [200, 200, 429]
    assert answers[0][2]["x-ratelimit-remaining-requests"] == "1"
    assert 25 <= int(answers[2][2]["retry-after"]) <= 30
    assert (await ask(app, "GET", "/v1/models", **BEARER))[0] == 200
    keys(app, tmp_path / "keys", "usd_per_day=6")
    answers = [await ask(app, "POST", "/v1/chat/completions", SAY, **BEARER) for _ in range(2)]
    assert [status for status, _, _ in answers] == [200, 429]  # a run costs 2.75, and those before count
    assert "used up its dollars" in answers[1][1]["error"]["message"]


@given(st.lists(st.tuples(st.floats(0, 90), st.integers(0, 40)), max_size=30))
def test_no_more_tokens_than_the_limit_in_the_long_run(asked: list[tuple[float, int]]) -> None:
    """At most what the bucket holds, what flows in, and the one request that overdrew it."""
    caller, spending, now_s, used = Caller("a", "a", tokens_per_minute=60), Spending(), 0.0, 0
    for wait_s, tokens in asked:
        now_s += wait_s
        try:
            spending.enter(caller, now_s)
        except ApiError as error:
            spending.enter(caller, now_s + error.retry_after_s + 1e-6)  # it tells when to come again
            now_s += error.retry_after_s + 1e-6
        spending.charge(caller, tokens, 0.0, now_s)
        used += tokens
        assert used <= 60 + now_s + 40


async def test_a_request_that_is_sent_again_is_not_run_again(app: App) -> None:
    first = await ask(app, "POST", "/v1/chat/completions", SAY, idempotency_key="k")
    again = await ask(app, "POST", "/v1/chat/completions", SAY, idempotency_key="k")
    assert again[:2] == first[:2]
    assert again[2]["idempotent-replayed"] == "true"
    assert app.agents.by_name["loop"].ended == 1
    status, answer, _ = await ask(app, "POST", "/v1/chat/completions", SAY + b" ", idempotency_key="k")
    assert (status, answer["error"]["code"]) == (409, "idempotency_key_reused")
    stream = json.dumps({**json.loads(SAY), "stream": True}).encode()
    told = [(await ask(app, "POST", "/v1/chat/completions", stream, idempotency_key="s"))[1] for _ in range(2)]
    assert told[0] == told[1]
    slow = [ask(app, "POST", "/v1/chat/completions", json.dumps(LOOP).encode(), idempotency_key="c") for _ in range(3)]
    answers = await asyncio.gather(*slow)
    assert {answer["id"] for _, answer, _ in answers} == {answers[0][1]["id"]}
    assert app.agents.by_name["loop"].ended == 3


async def test_who_hangs_up_pays_what_was_used(app: App, tmp_path: Path) -> None:
    keys(app, tmp_path / "keys", "tokens_per_minute=100000 usd_per_day=1")
    app.guard.audit = Audit.open(tmp_path / "audit.jsonl")
    body = json.dumps({**CHAT, "stream": True}).encode()
    reply = await app.answer(
        Request("POST", "/v1/chat/completions", "", {b"authorization": BEARER["authorization"].encode()}, body, "r")
    )
    assert isinstance(reply, Stream)

    class Gone:
        """A client that reads a little."""

        started, told = True, 0

        def write(self, data: bytes) -> None:
            self.told += 1
            if self.told == 3:
                telling.cancel()

        async def drain(self) -> None: ...

    telling = asyncio.ensure_future(reply.tell(Gone()))
    with pytest.raises(asyncio.CancelledError):
        await telling
    app.guard.audit.close()
    line = json.loads((tmp_path / "audit.jsonl").read_text())
    prompt = (await ask(app, "POST", "/v1/chat/completions", json.dumps(CHAT).encode(), **BEARER))[1]["usage"]
    assert line["status"] == 499
    assert prompt["prompt_tokens"] < line["tokens"] < prompt["total_tokens"]
    assert line["usd"] == pytest.approx((line["tokens"] - 1) * 2e-6)  # the first token comes with the prompt


async def test_a_refused_request_may_be_sent_again_with_its_key(app: App) -> None:
    wrong = json.dumps({**CHAT, "model": "nobody"}).encode()
    assert (await ask(app, "POST", "/v1/chat/completions", wrong, idempotency_key="k"))[0] == 404
    assert (await ask(app, "POST", "/v1/chat/completions", SAY, idempotency_key="k"))[0] == 200


async def test_each_request_is_one_line_without_secrets(app: App, tmp_path: Path) -> None:
    keys(app, tmp_path / "keys", "tenant=acme")
    app.guard.audit = Audit.open(tmp_path / "audit.jsonl")
    await ask(app, "POST", "/v1/chat/completions", SAY, **BEARER)
    await ask(app, "POST", "/v1/chat/completions", json.dumps({**json.loads(SAY), "stream": True}).encode(), **BEARER)
    await ask(app, "POST", "/v1/chat/completions", SAY, authorization="Bearer wrong")
    await ask(app, "POST", "/v1/chat/completions", b"{", **BEARER)
    app.guard.audit.close()
    text = (tmp_path / "audit.jsonl").read_text()
    lines = [json.loads(line) for line in text.splitlines()]
    assert [(line["status"], line["caller"], line.get("model")) for line in lines] == [
        (200, "alice", "loop"),
        (200, "alice", "loop"),
        (401, "anyone", None),
        (400, "alice", None),
    ]
    assert lines[0]["usd"] == pytest.approx(lines[1]["usd"]) != 0
    assert all(secret not in text for secret in (KEY, digest_of(KEY), "ABAB", '"ab"'))
    with pytest.raises(InputError, match="cannot be written"):
        Audit.open(tmp_path / "no" / "where")


def test_two_keys_of_one_tenant_share_what_was_used() -> None:
    """Else who takes turns with two keys of different limits would have none."""
    small, large, spending = Caller("a", "t", tokens_per_minute=60), Caller("b", "t", tokens_per_minute=600), Spending()
    for _ in range(3):
        spending.charge(large, 100, 0.0, 0.0)
        with pytest.raises(ApiError, match="used up its tokens"):
            spending.enter(small, 0.0)
    spending.enter(large, 0.0)
    assert spending.headers(large, 0.0)["x-ratelimit-remaining-tokens"] == "300"


async def test_what_was_used_outlives_the_server(tmp_path: Path) -> None:
    day_s, caller = [1000.0], Caller("a", "t", tokens_per_minute=60, usd_per_day=10.0)

    def opened(path: str) -> tuple[Spending, Ledger, SqliteDatabase]:
        spending, database = Spending(), SqliteDatabase(tmp_path / path)
        return spending, Ledger(database, spending, lambda: day_s[0]), database

    spending, ledger, database = opened("a.db")
    ledger.read(0.0)
    spending.charge(caller, 120, 4.0, 5.0)
    await ledger.write(5.0)
    spending.charge(caller, 0, 1.0, 5.0)
    await ledger.write(5.0)
    database.close()
    await ledger.write(6.0)  # nothing has changed: a database that is gone is not asked
    for passed_s, tokens, told in ((0.0, 0, "used up its tokens"), (30.0, 0, "tokens"), (-500.0, 0, "tokens")):
        again, kept, database = opened("a.db")
        day_s[0] = 1000.0 + passed_s
        kept.read(77.0)
        with pytest.raises(ApiError, match=told):
            again.enter(caller, 77.0)
        assert again.headers(caller, 77.0)["x-ratelimit-remaining-tokens"] == str(tokens)
        assert float(again.headers(caller, 77.0)["x-ratelimit-remaining-dollars"]) == pytest.approx(5.0, abs=0.01)
        again.charge(caller, 1, 0.0, 77.0)
        database.close()
        await kept.write(77.0)  # a database that fails is not the caller's trouble
        assert again.changed(77.0).keys() == {("t", "tokens"), ("t", "dollars")}  # and is asked again
    again, kept, database = opened("a.db")
    day_s[0] = 1061.0
    kept.read(0.0)
    again.enter(caller, 0.0)
    database.close()
