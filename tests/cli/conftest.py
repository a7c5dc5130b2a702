"""`weft("plan", …)` runs the command in this process and gives its exit code and what it printed."""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from weft.cli import main

EXAMPLES = Path(__file__).parents[2] / "examples"
VOICE = str(EXAMPLES / "voice_agent.py")


@dataclass(frozen=True)
class Finished:
    code: int
    out: str
    err: str


Weft = Callable[..., Finished]


@pytest.fixture
def weft(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Weft:
    def run(*arguments: object) -> Finished:
        monkeypatch.setattr(sys, "argv", ["weft", *map(str, arguments)])
        code = 0
        try:
            main()
        except SystemExit as exit:
            code = exit.code if isinstance(exit.code, int) else int(bool(exit.code))
        captured = capsys.readouterr()
        return Finished(code, captured.out, captured.err)

    return run
