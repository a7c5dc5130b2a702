"""Writes what a study found: CSV rows and a page made of a template and numbers."""

import csv
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined

_ENVIRONMENT = Environment(
    loader=ChoiceLoader([PackageLoader("weft.study", "pages"), PackageLoader("weft.study", "words")]),
    autoescape=False,  # Markdown
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
    keep_trailing_newline=True,
)


Json = Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Published:
    """`findings` is what a person reads on the terminal, `json` what a machine reads."""

    files: tuple[str, ...]
    findings: tuple[str, ...]
    json: Json


def write_page(name: str, out: Path, values: Mapping[str, object]) -> str:
    """`NAME.md` from `pages/NAME.md.j2`."""
    text = _ENVIRONMENT.get_template(f"{name}.md.j2").render(command=f"weft study {name}", **values)
    (out / f"{name}.md").write_text(text, encoding="utf-8")
    return f"{name}.md"


def lines_of(name: str, values: Mapping[str, object]) -> list[str]:
    """The filled lines of `words/NAME.j2`."""
    text = _ENVIRONMENT.get_template(f"{name}.j2").render(values)
    return [line for line in text.splitlines() if line.strip()]


def write_csv(path: Path, rows: Iterable[Mapping[str, object]]) -> str:
    """Numbers to four significant digits: a study is no more exact than that, and diffs stay short."""
    written = [{key: _short(value) for key, value in row.items()} for row in rows]
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(written[0]) if written else [], lineterminator="\n")
        writer.writeheader()
        writer.writerows(written)
    return path.name


def markdown_table(headings: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    lines = ["| " + " | ".join(headings) + " |", "|" + "---|" * len(headings)]
    lines += ["| " + " | ".join(str(cell) for cell in row) + " |" for row in rows]
    return "\n".join(lines)


def _short(value: object) -> object:
    if isinstance(value, float):
        return f"{value:.4g}"
    return "" if value is None else value
