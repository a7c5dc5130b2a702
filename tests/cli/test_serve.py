"""`weft serve` as a user starts, calls and stops it."""

import contextlib
import itertools
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Generator, Iterator
from pathlib import Path

import httpx
import openai
import pytest

from tests.cli.conftest import EXAMPLES, VOICE, Weft


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "nothing to serve"),
        ((VOICE, "--host", "0.0.0.0"), "no API keys"),
        ((VOICE, "--keys", "/nowhere/keys"), "cannot be read"),
        ((VOICE, VOICE), "served twice"),
        ((VOICE, "--host", "203.0.113.7", "--keys", "KEYS"), "cannot listen"),
        (("--new-key", "alice"), "no file to add it to"),
    ],
)
def test_refusals(weft: Weft, tmp_path: Path, arguments: tuple[str, ...], words: str) -> None:
    path = tmp_path / "keys"
    assert weft("serve", "--new-key", "bob", "--keys", path).out.startswith("weft-")
    finished = weft("serve", *(str(path) if each == "KEYS" else each for each in arguments))
    assert finished.code == 2
    assert words in finished.err


def children(pid: int) -> dict[str, list[int]]:
    """Of a process: gateways and nodes."""
    found: dict[str, list[int]] = {"gateway": [], "node": []}
    for child in map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split()):
        command = Path(f"/proc/{child}/cmdline").read_text()
        found["node" if "weft.runtime.node" in command else "gateway"].append(child)
    return found


@contextlib.contextmanager
def serving(*arguments: str) -> Generator[tuple["subprocess.Popen[str]", str, Iterator[str]]]:
    """The process, the URL and what else it prints."""
    command = [sys.executable, "-m", "weft", "serve", *arguments, "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        assert process.stdout is not None
        lines = iter(process.stdout.readline, "")
        try:
            yield process, next(found[0] for line in lines if (found := re.search(r"http://\S+/v1", line))), lines
        finally:
            process.terminate()


def test_an_agent_is_served_until_it_is_stopped() -> None:
    with serving(VOICE) as (process, url, lines):
        with openai.OpenAI(base_url=url, api_key="none") as client:
            assert "voice" in [model.id for model in client.models.list()]
            with pytest.raises(openai.BadRequestError, match="this agent listens"):
                client.chat.completions.create(model="voice", messages=[{"role": "user", "content": "hello"}])
            (gateway,) = children(process.pid)["gateway"]
            nodes = children(gateway)["node"]
            os.kill(gateway, signal.SIGKILL)
            assert "voice" in [model.id for model in client.models.list()]
            assert sorted(children(process.pid)["node"]) == sorted(nodes)  # the next gateway has them
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 0
        told = "".join(lines)
        assert "was killed by signal 9; it starts again" in told
        assert "stopping: 0 runs" in told


def test_a_named_stream_goes_on_after_its_gateway_was_killed() -> None:
    with serving(str(EXAMPLES / "chat_agent.py"), "--emulate") as (process, url, _):
        asked = {"model": "chat", "stream": True, "temperature": 0.8, "max_tokens": 40}
        body = {**asked, "messages": [{"role": "user", "content": "what is an h100"}]}

        def told(headers: dict[str, str], most: int) -> Iterator[str]:
            with httpx.stream("POST", f"{url}/chat/completions", json=body, headers=headers, timeout=30) as answer:
                yield from itertools.islice((line for line in answer.iter_lines() if line), most)

        whole = list(told({"idempotency-key": "a"}, 10_000))
        key = {"idempotency-key": "b"}
        begun = list(told(key, 8))
        os.kill(children(process.pid)["gateway"][0], signal.SIGKILL)
        last = next(line[4:] for line in reversed(begun) if line.startswith("id: "))
        rest = list(told({**key, "last-event-id": last}, 10_000))
        assert rest[-1] == whole[-1] == "data: [DONE]"
        again = list(told(key, 10_000))  # of one that ended all is known
        assert text_of(begun + rest) == text_of(again)
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0


def text_of(lines: list[str]) -> str:
    chunks = [json.loads(line[6:]) for line in lines if line.startswith("data: {")]
    return "".join(choice["delta"].get("content") or "" for chunk in chunks for choice in chunk["choices"])
