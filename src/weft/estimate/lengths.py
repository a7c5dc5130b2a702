"""Lengths of requests from a CSV or JSONL file: every line a request, all of them equally likely."""

import csv
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import cast

import numpy as np

from weft.core.errors import InputError
from weft.cost.tails import Lengths

NAMES = (("isl", "osl"), ("input_length", "output_length"), ("ContextTokens", "GeneratedTokens"))
"""Columns or keys of prompt and answer tokens: ours, Mooncake's traces, Azure's."""


def read_lengths(path: Path) -> Lengths:
    """All requests of a .csv, .jsonl or .json-lines file; each line counts the same."""
    pairs = [_pair(path, at, row) for at, row in _rows(path)]
    if not pairs:
        raise InputError(subject=str(path), problem="holds no request", way_out="write one request a line")
    isl, osl = np.array(pairs, dtype=np.float64).T
    return Lengths(isl, osl)


def _rows(path: Path) -> Iterator[tuple[int, Mapping[str, object]]]:
    """(line number, row)."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as failure:
        raise InputError(subject=str(path), problem=f"cannot be read: {failure}", way_out="check the path") from None
    if path.suffix == ".csv":
        yield from enumerate(csv.DictReader(text.splitlines()), 2)
        return
    for at, line in enumerate(text.splitlines(), 1):
        if line.strip():
            yield at, _object(path, at, line)


def _object(path: Path, at: int, line: str) -> Mapping[str, object]:
    try:
        found: object = json.loads(line)
    except json.JSONDecodeError:
        found = None
    if not isinstance(found, dict):
        raise InputError(
            subject=f"{path}:{at}", problem="is no JSON object", way_out='write {"isl": 512, "osl": 128} on each line'
        )
    return cast(Mapping[str, object], found)


def _pair(path: Path, at: int, row: Mapping[str, object]) -> Sequence[float]:
    names = next((pair for pair in NAMES if all(name in row for name in pair)), None)
    if names is None:
        known = ", or ".join(" and ".join(pair) for pair in NAMES)
        raise InputError(subject=f"{path}:{at}", problem="tells no lengths", way_out=f"name them {known}")
    return [_tokens(path, at, name, row[name]) for name in names]


def _tokens(path: Path, at: int, name: str, value: object) -> float:
    try:
        tokens = float(cast(str, value))
    except (TypeError, ValueError):
        tokens = math.nan
    if not 1 <= tokens < 1e9:
        raise InputError(subject=f"{path}:{at}", problem=f"{name} is {value!r}", way_out="write tokens, 1 or more")
    return tokens
