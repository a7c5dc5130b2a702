"""Upstream's tools load our dialects from IRDL, canonicalise the six architectures and give them back as they were."""

import subprocess
import sys
from pathlib import Path

import pytest

from weft.compiler.irdl import irdl_module
from weft.compiler.parse import parse_module, print_module, read_module

EXAMPLES = Path(__file__).parents[2] / "examples"
MODULES = (EXAMPLES / "voice_agent.mlir", *sorted((EXAMPLES / "architectures").glob("*.mlir")))
TOOLS = [tool for tool in ("iree-opt", "torch-mlir-opt") if (Path(sys.executable).parent / tool).exists()]
needs_tools = pytest.mark.skipif(not TOOLS, reason="pip install 'weft[codegen]' brings iree-opt and torch-mlir-opt")


@pytest.fixture(scope="module")
def irdl(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("irdl") / "weft.irdl.mlir"
    path.write_text(print_module(irdl_module()))
    return path


def run(tool: str, irdl: Path, text: str) -> subprocess.CompletedProcess[str]:
    command = [str(Path(sys.executable).parent / tool), f"--irdl-file={irdl}", "--canonicalize", "--cse"]
    return subprocess.run([*command, "--mlir-print-op-generic", "-"], input=text, capture_output=True, text=True)


@needs_tools
@pytest.mark.parametrize("tool", TOOLS)
@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.stem)
def test_upstream_gives_every_module_back(tool: str, path: Path, irdl: Path) -> None:
    module = read_module(path)
    done = run(tool, irdl, print_module(module, generic=True))
    assert done.returncode == 0, done.stderr
    assert parse_module(done.stdout, tool).is_structurally_equivalent(module)


@needs_tools
@pytest.mark.parametrize("tool", TOOLS)
@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ('"media.transcribe"', '"media.synthesize"', "agent.audio"),
        ("core_s = 4.000000e-02 : f64", "core_s = 4 : i64", "builtin.float"),
        ('tool = "search", ', "", "tool"),
    ],
)
def test_upstream_refuses_what_the_dialects_refuse(tool: str, old: str, new: str, problem: str, irdl: Path) -> None:
    text = print_module(read_module(MODULES[0]), generic=True)
    assert old in text
    done = run(tool, irdl, text.replace(old, new))
    assert done.returncode != 0
    assert problem in done.stderr
