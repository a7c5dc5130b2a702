"""Line numbers: equal to where the key visibly stands, for every key of a file and every spelling of TOML."""

import tomllib
from pathlib import Path

import pytest

from weft import catalog
from weft.catalog.locate import TomlPath, first_unreadable_line, line_of

LINKS = (Path(catalog.__file__).parent / "links.toml").read_text()


def test_every_key_of_a_file_is_found_where_it_stands() -> None:
    lines = LINKS.split("\n")
    for at, row in enumerate(tomllib.loads(LINKS)["link"]):
        assert lines[line_of(LINKS, ("link", at)) - 1] == "[[link]]"
        for key in row:
            assert lines[line_of(LINKS, ("link", at, key)) - 1].startswith(f"{key} = ")
        assert lines[line_of(LINKS, ("link", at, "id")) - 1] == f'id = "{row["id"]}"'


@pytest.mark.parametrize(
    ("text", "path", "line"),
    [
        ("a.b.c = 1\n\na.b.d = 2", ("a", "b", "d"), 3),
        ('x = """\ny = 1\n"""\ny = 2', ("y",), 4),
        ('x = """\ny = 1\n"""\ny = 2', ("x",), 1),
        ("x = [\n  1,\n  2,\n]\n# y = 1\n'y' = 2", ("y",), 6),
        ("t = { u = 1, v = 2 }", ("t", "v"), 1),
        ("[p]\n[p.q]\nr = 1\n[[p.s]]\n[[p.s]]\nt = 1", ("p", "s", 1, "t"), 6),
        ("\n\n# only a comment above\nx = 1", ("x",), 4),
        ("x = 1", (), 1),
    ],
)
def test_spellings(text: str, path: TomlPath, line: int) -> None:
    assert line_of(text, path) == line


def test_the_first_unreadable_line() -> None:
    assert first_unreadable_line("a = 1\nb = \nc = 2") == 2
