"""`weft node` as a user writes it: what is refused before anything is loaded."""

from pathlib import Path

from tests.cli.conftest import Weft

SPEC = 'name = "n"\ndevice = "cpu"\nkinds = ["prefill"]\n[cache]\nhost_bytes = 1000000\n'


def test_tiers_are_named_in_one_place(weft: Weft, tmp_path: Path) -> None:
    (tmp_path / "node.toml").write_text(SPEC)
    (tmp_path / "key").touch(0o600)
    (tmp_path / "key").write_text("ab" * 32)
    finished = weft("node", tmp_path / "node.toml", "--key-file", tmp_path / "key", "--cache-host-gib", "1")
    assert finished.code == 2
    assert "leave out its [cache], or the --cache- options" in finished.err


def test_sizes_of_tiers_are_checked(weft: Weft, tmp_path: Path) -> None:
    (tmp_path / "node.toml").write_text(SPEC)
    finished = weft(
        "node", tmp_path / "node.toml", "--key-file", tmp_path / "key", "--cache-disk-gib", "-1", "--cache-disk", "x"
    )
    assert finished.code == 2
    assert "give sizes of 0 or more" in finished.err
