"""`weft compile`: what it prints and writes, how it refuses. Nothing is compiled here but launch specs."""

import json
from pathlib import Path

import pytest

from tests.cli.conftest import EXAMPLES, VOICE, Weft
from tests.compiler.codegen.conftest import write_checkpoint


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from weft.compiler.pipeline import compile_agent
    from weft.compiler.request import Aim, CompileRequest
    from weft.core.deployment_json import encode

    path = tmp_path_factory.mktemp("plan") / "plan.json"
    path.write_bytes(encode(compile_agent(CompileRequest(VOICE, aim=Aim(compare=False)))))
    return path


def test_a_plan_becomes_a_bundle_that_verifies(weft: Weft, plan: Path, tmp_path: Path) -> None:
    out = tmp_path / "bundle"
    finished = weft("compile", plan, "--launch-only", "-o", out)
    assert finished.code == 0, finished.err
    for words in ("think.decode", "launch/decode-a100-sxm.json", "13 files"):
        assert words in finished.out
    assert weft("compile", "--verify", out).out.strip().endswith("all 13 files are as they were written")
    (out / "agent.mlir").write_text("")
    refused = weft("compile", "--verify", out)
    assert refused.code == 2
    assert "agent.mlir has 0 bytes" in refused.err


def test_json_is_the_manifest_alone(weft: Weft, tmp_path: Path) -> None:
    out = tmp_path / "bundle"
    finished = weft("compile", VOICE, "--serving", "aggregated", "--rate", 5, "--launch-only", "--json", "-o", out)
    assert finished.code == 0, finished.err
    assert json.loads(finished.out) == json.loads((out / "manifest.json").read_text())
    assert json.loads(weft("compile", "--verify", out, "--json").out) == {"files": 9, "differences": []}


def test_what_cannot_be_joined_is_told_and_the_exit_code_says_so(weft: Weft, plan: Path, tmp_path: Path) -> None:
    finished = weft("compile", plan, "--launch-only", "--launch-with", "sglang", "-o", tmp_path / "bundle")
    assert finished.code == 1
    assert "share no KV connector" in finished.out
    assert (tmp_path / "bundle" / "manifest.json").exists()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--rate", 3), "options of planning would change nothing"),
        (("--target", "abacus"), "target 'abacus'"),
        (("--launch-only", "--target", "vulkan"), "compiles nothing"),
        (("--checkpoint", "llama-3-8b"), "is not MODEL=PATH"),
        (("--checkpoint", "llama-3-8b=/nowhere"), "/nowhere: is no folder"),
        (("--checkpoint", "llamma-3=WHOLE"), "none of the"),
        (("--checkpoint", "qwen3-8b=WHOLE"), "is no model of this plan"),
        (("--checkpoint", "llama-3-8b=HALF"), "was not written to the end"),
        (("--launch-with", "ollama"), "engine 'ollama'"),
        (("-o", "FULL"), "is not empty and no bundle"),
        (("--cache", "FULL/thesis"), "give --cache DIR"),
    ],
)
def test_a_wrong_request_is_one_sentence_and_writes_nothing(
    options: tuple[object, ...], words: str, weft: Weft, plan: Path, tmp_path: Path
) -> None:
    whole, half, full = write_checkpoint(tmp_path / "w"), write_checkpoint(tmp_path / "h"), tmp_path / "full"
    (half / "model.safetensors").write_bytes((half / "model.safetensors").read_bytes()[:-1])
    full.mkdir()
    (full / "thesis").write_text("")
    named = {"WHOLE": whole, "HALF": half, "FULL": full}
    for name, path in named.items():
        options = tuple(str(option).replace(name, str(path)) for option in options)
    finished = weft("compile", plan, "-o", tmp_path / "bundle", *options)
    assert finished.code == 2
    assert words in finished.err
    assert finished.err.count("error:") == 1
    assert not (tmp_path / "bundle").exists()
    assert not list(tmp_path.glob(".*.making"))


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("gone.json", "cannot be read"),
        (EXAMPLES / "agents.toml", "lists several agents"),
        ("--verify", "has no manifest.json"),
    ],
)
def test_what_is_no_plan(name: object, words: str, weft: Weft, tmp_path: Path) -> None:
    arguments = ("--verify", tmp_path) if name == "--verify" else (name, "-o", tmp_path / "bundle")
    finished = weft("compile", *arguments)
    assert finished.code == 2
    assert words in finished.err
