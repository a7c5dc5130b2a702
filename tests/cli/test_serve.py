"""`weft serve` as a user starts, calls and stops it."""

import re
import signal
import subprocess
import sys
from pathlib import Path

import openai
import pytest

from tests.cli.conftest import VOICE, Weft


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


def test_an_agent_is_served_until_it_is_stopped() -> None:
    command = [sys.executable, "-m", "weft", "serve", VOICE, "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        lines = iter(process.stdout.readline, "")
        url = next(found[0] for line in lines if (found := re.search(r"http://\S+/v1", line)))
        with openai.OpenAI(base_url=url, api_key="none") as client:
            assert [model.id for model in client.models.list()] == ["voice"]
            with pytest.raises(openai.BadRequestError, match="this agent listens"):
                client.chat.completions.create(model="voice", messages=[{"role": "user", "content": "hello"}])
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 0
        assert "stopping: 0 runs" in "".join(lines)
