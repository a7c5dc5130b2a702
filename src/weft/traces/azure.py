"""Azure's LLM inference traces: one model call a row, no prefixes (AzurePublicDataset)."""

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

from weft.traces.lines import bad_line, csv_rows, in_order, whole
from weft.traces.request import CallSize, Request

COLUMNS = ("TIMESTAMP", "ContextTokens", "GeneratedTokens")


def read_azure(path: Path) -> Iterator[Request]:
    """Times count from the first row."""
    first: datetime | None = None
    before_s = 0.0
    for line, row in csv_rows(path, COLUMNS):
        at = _time(path, line, row["TIMESTAMP"])
        first = first or at
        seconds = (at - first).total_seconds()
        before_s = in_order(path, line, seconds, before_s)
        isl, osl = whole(path, line, row, "ContextTokens", 1), whole(path, line, row, "GeneratedTokens", 1)
        yield Request(before_s, (CallSize(isl, osl),), line=line)


def _time(path: Path, line: int, text: str) -> datetime:
    """Seven digits after the point (100 ns); Python reads six."""
    whole_part, _, fraction = text.strip().partition(".")
    try:
        return datetime.fromisoformat(f"{whole_part}.{fraction[:6]:0<6}")
    except ValueError as error:
        raise bad_line(path, line, f"TIMESTAMP is {text!r}, not a time like 2023-11-16 18:17:03.9799600") from error
