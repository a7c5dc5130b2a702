"""`weft run` and `weft demo` with real node processes and the shipped models."""

import io
import os
import signal
import subprocess
import sys
import time
import wave
from pathlib import Path

import pytest

from tests.cli.conftest import VOICE, Weft
from weft.core.deployment_json import decode

ROOT = Path(__file__).parents[2]
FIGURES = {"alternatives.png", "timeline.png"}
BUNDLE = {"agent.mlir", "answer.wav", "passes", "plan.json", "report.html", "run.json"} | FIGURES


def test_demo_answers_a_spoken_question(weft: Weft, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    finished = weft("demo", "--out", tmp_path / "out")
    assert finished.code == 0, finished.err
    assert {path.name for path in (tmp_path / "out").iterdir()} == BUNDLE
    assert decode((tmp_path / "out" / "plan.json").read_bytes(), "plan").agent == "voice"
    assert (tmp_path / "out" / "answer.wav").read_bytes()[:4] == b"RIFF"
    assert '{"tool": "search"' in finished.out
    assert "not emulated" in finished.out
    assert "not emulated" in (tmp_path / "out" / "report.html").read_text()


def test_emulated_runs_say_so_everywhere(weft: Weft, tmp_path: Path) -> None:
    finished = weft("run", VOICE, "--text", "who makes the a forty", "--emulate", "--out", tmp_path)
    assert finished.code == 0, finished.err
    assert "emulated devices" in finished.out
    assert "(emulated, not measured)" in (tmp_path / "report.html").read_text()


def test_a_killed_node_ends_the_run_with_its_name_and_leaves_the_folder_alone(tmp_path: Path) -> None:
    command = [sys.executable, "-c", "from weft.cli import main; main()", "run", VOICE, "--emulate"]
    command += ["--text", "how much memory does the h two hundred have", "--out", str(tmp_path / "out")]
    run = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert run.stdout is not None
    assert any("heard" in line for line in run.stdout)
    nodes = _children(run.pid)
    os.kill(nodes[-1], signal.SIGKILL)
    killed_s = time.monotonic()
    _, err = run.communicate(timeout=20)
    assert time.monotonic() - killed_s < 2
    assert run.returncode == 1
    assert "node 'decode-" in err
    assert not (tmp_path / "out").exists()
    assert not any(Path(f"/proc/{pid}").exists() for pid in nodes), "no orphans"


def _children(parent: int) -> list[int]:
    """Node processes in the order in which they were started."""
    return sorted(int(pid) for pid in Path(f"/proc/{parent}/task/{parent}/children").read_text().split())


def _wav(samples: bytes) -> bytes:
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16_000)
        file.writeframes(samples)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"not a wav", "is not a PCM wav file"),
        (_wav(b""), "holds no samples"),
        (_wav(bytes(32_000)), "is silent"),
        (_wav(b"ab" * 16_000)[:1000], "is truncated"),
    ],
)
def test_broken_recordings_are_refused(weft: Weft, tmp_path: Path, content: bytes, words: str) -> None:
    recording = tmp_path / "question.wav"
    recording.write_bytes(content)
    finished = weft("run", VOICE, "--wav", recording, "--out", tmp_path / "out")
    assert finished.code == 2
    assert words in finished.err
    assert not (tmp_path / "out").exists()


def test_a_checkpoint_of_an_unknown_architecture_is_refused(weft: Weft, tmp_path: Path) -> None:
    model = tmp_path / "model"
    model.mkdir()
    (model / "config.json").write_text('{"architectures": ["GPT5ForCausalLM"], "model_type": "gpt5"}')
    (model / "model.safetensors").write_bytes(b"")
    finished = weft("run", VOICE, "--text", "who makes the a forty", "--model", model, "--out", tmp_path / "out")
    assert finished.code == 2, finished.err
    assert "GPT5ForCausalLM" in finished.err
    assert "LlamaForCausalLM" in finished.err


def test_without_espeak_the_error_says_how_to_get_it(
    weft: Weft, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    finished = weft("run", VOICE, "--text", "who makes the a forty", "--out", tmp_path / "out")
    assert finished.code == 2
    assert "apt-get install espeak-ng" in finished.err
