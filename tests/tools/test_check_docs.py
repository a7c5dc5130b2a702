"""The documentation checker runs what pages show, and says where a command fails."""

import subprocess
from pathlib import Path

import pytest

from tools import check_docs

README = """\
# Example
```console
$ echo one \\
    two
one two
$ make nothing
$ pip install weft
```
<!-- not run: needs two machines -->
```console
$ exit 7
```
"""


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    (tmp_path / "docs").mkdir()
    (tmp_path / "README.md").write_text(README)
    return tmp_path


def page(repository: Path, *commands: str) -> None:
    lines = "".join(f"$ {command}\n" for command in commands)
    (repository / "docs" / "page.md").write_text(f"```console\n{lines}```\n")


def test_commands_are_read_with_their_lines(repository: Path) -> None:
    commands = list(check_docs.commands_of(repository / "README.md", repository))
    assert [command.text for command in commands] == ["echo one two", "make nothing", "pip install weft"]
    assert [command.where for command in commands] == ["README.md:3", "README.md:6", "README.md:7"]


def test_setup_is_skipped_and_equal_commands_run_once(repository: Path) -> None:
    page(repository, "echo one two", "make nothing", "echo three", "echo one two")
    commands = check_docs.once(check_docs.commands_of(repository / "docs" / "page.md", repository))
    assert [command.text for command in commands] == ["echo one two", "echo three"]


def test_commands_share_a_copy_of_the_repository(repository: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page(repository, "echo x > made", "cat made README.md")
    assert check_docs.main(repository) == 0
    assert "3 commands of 2 pages" in capsys.readouterr().out
    assert not (repository / "made").exists()


def test_a_failing_command_is_named_with_its_line(repository: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page(repository, "true", "echo why; exit 3")
    assert check_docs.main(repository) == 1
    output = capsys.readouterr().out
    assert "docs/page.md:3" in output and "exited 3" in output and "why" in output


def test_a_command_that_hangs_is_ended(
    repository: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(check_docs, "COMMAND_LIMIT_S", 0.2)
    page(repository, "sleep 60")
    assert check_docs.main(repository) == 1
    assert "took over" in capsys.readouterr().out


def test_what_a_command_leaves_running_does_not_hold_up_the_check(repository: Path) -> None:
    page(repository, "sleep 60 & echo started")
    assert check_docs.main(repository) == 0
