"""`weft run` and `weft serve` of a bundle that `weft compile` wrote."""

import json
from pathlib import Path

import pytest

from tests.cli.conftest import EXAMPLES, VOICE, Weft

TOOLS = str(EXAMPLES / "tool_agent.py")


def test_refusals(weft: Weft, tmp_path: Path) -> None:
    bundle = tmp_path / "bundle"
    assert weft("compile", TOOLS, "--launch-only", "-o", bundle).code == 0
    for arguments, words in (
        (("run", bundle, "--rate", "3", "--text", "x"), "has its plan"),
        (("run", bundle, "--code", "x=torch", "--text", "x"), "names no pool that has code"),
        (("run", tmp_path, "--text", "x"), "has no manifest.json"),
        (("run", VOICE, "--code", "a=b", "--text", "x"), "chooses among the code of a bundle"),
        (("serve", bundle, "--ray", "auto"), "looked for on this machine"),
        (("serve", VOICE, "--code", "x=torch"), "there are 0"),
        (("serve", bundle, bundle), "is served twice"),
    ):
        finished = weft(*arguments)
        assert finished.code == 2, arguments
        assert words in " ".join(finished.err.split())


@pytest.mark.timeout(600)
def test_a_compiled_agent_answers_as_torch_does(weft: Weft, tmp_path: Path) -> None:
    """The tiny model that ships with Weft, compiled for this CPU: through the command line and node processes."""
    question = ("--text", "what is 12 * (3 + 4)")
    assert weft("compile", TOOLS, "-o", tmp_path / "bundle").code == 0
    compiled = weft("run", tmp_path / "bundle", *question, "--out", tmp_path / "compiled")
    assert compiled.code == 0, compiled.err
    assert "host-cpu" in compiled.out
    assert weft("run", TOOLS, *question, "--out", tmp_path / "torch").code == 0
    steps = [json.loads((tmp_path / name / "run.json").read_bytes()) for name in ("compiled", "torch")]
    assert steps[0]["answer"] == steps[1]["answer"]
