"""Runs the `.mlir` tests: `// RUN: weft opt -p SPEC` prints the module that its CHECK lines describe.

`// FAIL: text` instead of CHECK lines: the pipeline must be refused with that text.
"""

from pathlib import Path

import pytest
from filecheck.matcher import Matcher
from filecheck.options import Options

from weft.compiler.opt import parse_pipeline, run_passes
from weft.compiler.parse import parse_module, print_module
from weft.core.errors import WeftError

FILES = sorted((Path(__file__).parent / "filecheck").glob("*.mlir"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_filecheck(path: Path, tmp_path: Path) -> None:
    source = path.read_text()
    failure = next((line.partition("// FAIL:")[2].strip() for line in source.splitlines() if "// FAIL:" in line), None)
    if failure:
        with pytest.raises(WeftError) as refusal:
            _optimise(source, path)
        assert failure in str(refusal.value)
        return
    printed = tmp_path / "printed.mlir"
    printed.write_text(_optimise(source, path))
    assert Matcher.from_opts(Options(match_filename=str(path), input_file=str(printed))).run() == 0


def _optimise(source: str, path: Path) -> str:
    spec = source.splitlines()[0].partition("-p ")[2].strip("' ")
    module = parse_module(source, path.name)
    run_passes(module, parse_pipeline(spec) if spec else ())
    return print_module(module)
