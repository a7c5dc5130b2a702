"""`weft study`: files, JSON, and a refusal."""

import json
import sys
from pathlib import Path

import pytest

from weft.cli import main


def run(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int:
    monkeypatch.setattr(sys, "argv", ["weft", "study", *map(str, arguments)])
    try:
        main()
    except SystemExit as done:
        return done.code if isinstance(done.code, int) else 1
    return 0


@pytest.mark.parametrize("name", ["kv-bandwidth", "catalogue", "scaling"])
def test_a_study_writes_its_page_figures_and_rows(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str):
    target = tmp_path / "rows.json"
    assert run(monkeypatch, name, "--out", tmp_path / "out", "--json", target) == 0
    page = (tmp_path / "out" / f"{name}.md").read_text()
    assert "**Verdict:" in page
    assert f"weft study {name}" in page
    told = json.loads(target.read_text())
    assert told["rows"]
    assert told["claims"][0]["verdict"]
    written = {path.suffix for path in (tmp_path / "out").iterdir()}
    assert written == {".md", ".png", ".csv"}


def test_an_unknown_study_is_refused(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    assert run(monkeypatch, "horoscope") == 2
    assert "the studies are tco" in capsys.readouterr().err
