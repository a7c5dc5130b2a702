"""SIGKILL of a server in the middle of a run: the next one ends it, as if nothing had been."""

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from tests.serve.runs.crashing import AGENT

WHOLE = ["upper", "upper", "join", *["grow", "more"] * 4, "send"]


class Crashing:
    """The same log each time. `ran`: what ran in all lives."""

    def __init__(self, folder: Path) -> None:
        self.agent, self.log, self._ran = folder / "agent.py", folder / "runs.db", folder / "ran"
        self.agent.write_text(AGENT)
        self._ran.touch()

    @property
    def ran(self) -> list[str]:
        return self._ran.read_text().split()

    def start(self) -> "subprocess.Popen[str]":
        command = [sys.executable, "-m", "tests.serve.runs.crashing", str(self.log), str(self.agent)]
        environment = {**os.environ, "RAN": str(self._ran)}
        return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)

    def until_killed(self, ran: int) -> None:
        """Killed when so many have run."""
        with self.start() as process:
            until_s = time.monotonic() + 60
            while len(self.ran) < ran and time.monotonic() < until_s:
                time.sleep(0.002)
            process.send_signal(signal.SIGKILL)

    def ended(self) -> str:
        with self.start() as process:
            return process.communicate(timeout=60)[0].strip()


@pytest.mark.parametrize("kills", [(1, 6)])
def test_a_killed_run_ends_the_same_and_repeats_only_what_was_cut_off(tmp_path: Path, kills: tuple[int, ...]) -> None:
    check(Crashing(tmp_path), kills)


def test_a_run_may_be_killed_anywhere(tmp_path: Path) -> None:
    for at in range(1, len(WHOLE)):
        folder = tmp_path / str(at)
        folder.mkdir()
        check(Crashing(folder), (at,))


def check(server: Crashing, kills: tuple[int, ...]) -> None:
    for at in kills:
        server.until_killed(at)
    assert server.ended() == "completed ('ABAB!!!!.',)"
    again = Counter(server.ran) - Counter(WHOLE)
    assert again.total() <= 2 * len(kills)  # two functions at a time are under way at most
    assert not Counter(WHOLE) - Counter(server.ran)
    assert again["send"] == 0
    before = server.ran
    assert server.ended() == "completed ('ABAB!!!!.',)"
    assert server.ran == before


def test_a_tool_that_was_cut_off_is_told_and_not_called_again(tmp_path: Path) -> None:
    server = Crashing(tmp_path)
    server.until_killed(len(WHOLE))
    assert server.ended().startswith("unsure () 'send' may run only once and was cut off")
    assert server.ran.count("send") == 1
