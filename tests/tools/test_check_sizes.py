"""The size checker counts non-blank lines and names what is too large."""

from pathlib import Path

import pytest

from tools import check_sizes


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "src").mkdir()
    (tmp_path / "pyproject.toml").write_text('[tool.weft]\nstandard = ["src/torchy.py"]\n')
    (tmp_path / "src" / "torchy.py").write_text("# pyright: standard\nx = 1\n")
    return tmp_path


def write(project: Path, text: str) -> None:
    (project / "src" / "module.py").write_text(text)


def function(lines: int, parameters: str = "") -> str:
    return f"def long({parameters}):\n" + "    x = 1\n\n" * (lines - 1)


def test_a_small_project_passes(project: Path) -> None:
    write(project, function(8))
    assert check_sizes.main(project) == 0


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (function(51), "long has 51 lines, limit 50"),
        ("x = 1\n" * 501, "501 non-blank lines"),
        (function(9), "median function has 9 lines"),
        ("# pyright: basic\n", "not in [tool.weft] standard"),
    ],
)
def test_what_is_too_large_or_too_lenient_is_named(
    project: Path, text: str, says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    write(project, text)
    assert check_sizes.main(project) == 1
    assert says in capsys.readouterr().out


def test_a_listed_file_without_its_line_is_named(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (project / "src" / "torchy.py").write_text("x = 1\n")
    assert check_sizes.main(project) == 1
    assert "has no `# pyright: standard` line" in capsys.readouterr().out


def test_many_parameters_are_only_noted(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(project, function(2, "a, b, c, d, e, f, g, h"))
    assert check_sizes.main(project) == 0
    assert "takes 8 parameters" in capsys.readouterr().out
