"""Reading a trace line by line: memory does not grow with the file, and what is wrong is told with its line."""

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TypeVar

import msgspec

from weft.core.errors import TraceError

T = TypeVar("T")


def json_lines(path: Path, row: type[T]) -> Iterator[tuple[int, T]]:
    """Line number and value of every line that is not blank."""
    decoder = msgspec.json.Decoder(row)
    with _opened(path).open("rb") as file:
        for number, line in enumerate(file, start=1):
            if line.strip():
                try:
                    yield number, decoder.decode(line)
                except (msgspec.DecodeError, UnicodeDecodeError) as error:
                    raise bad_line(path, number, str(error)) from error


def csv_rows(path: Path, columns: Sequence[str]) -> Iterator[tuple[int, dict[str, str]]]:
    """Line number and the row by column; the header must name all of `columns`."""
    with _opened(path).open(newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        missing = [column for column in columns if column not in (reader.fieldnames or ())]
        if missing:
            raise bad_line(path, 1, f"the header lacks {', '.join(missing)}")
        for row in reader:
            if any(row[column] in (None, "") for column in columns):
                lacking = [column for column in columns if row[column] in (None, "")]
                raise bad_line(path, reader.line_num, f"has no {', '.join(lacking)}")
            yield reader.line_num, row


def whole(path: Path, line: int, row: dict[str, str], column: str, least: int) -> int:
    """A whole number of at least `least`."""
    try:
        value = int(row[column])
    except ValueError as error:
        raise bad_line(path, line, f"{column} is {row[column]!r}, not a whole number") from error
    return at_least(path, line, column, value, least)


N = TypeVar("N", int, float)


def at_least(path: Path, line: int, name: str, value: N, least: int) -> N:
    if not value >= least:
        raise bad_line(path, line, f"{name} is {value}, must be at least {least}")
    return value


def in_order(path: Path, line: int, at_s: float, before_s: float) -> float:
    """Times that are not negative and do not go back."""
    if not 0 <= at_s < float("inf"):
        raise bad_line(path, line, f"comes at {at_s:g} s, a time is not negative and finite")
    if at_s < before_s:
        raise bad_line(path, line, f"comes at {at_s:g} s, after one at {before_s:g} s: not sorted by time")
    return at_s


def bad_line(path: Path, line: int, problem: str) -> TraceError:
    return TraceError(subject=f"{path}:{line}", problem=problem, way_out="correct or remove this line")


def _opened(path: Path) -> Path:
    if not path.is_file():
        raise TraceError(subject=str(path), problem="no such file", way_out="give the path of a trace")
    return path
