"""Which line of a TOML file a value stands on. tomllib tells no positions, so prefixes of the file are read.

Exact for every spelling that TOML allows (dotted keys, inline tables, multi-line values): TOML itself does the reading.
"""

import tomllib
from bisect import bisect_left
from collections.abc import Sequence
from typing import Any, cast

TomlPath = tuple[str | int, ...]


def line_of(text: str, path: TomlPath) -> int:
    """The line (from 1) on which the value at `path` begins; the whole text must be valid TOML."""
    lines = text.split("\n")
    end = bisect_left(range(len(lines) + 1), True, key=lambda count: contains(_readable(lines, count)[0], path))
    return _readable(lines, end - 1)[1] + 1 if path else 1


def first_unreadable_line(text: str) -> int:
    """The line after the longest prefix that is valid TOML."""
    lines = text.split("\n")
    return min(_readable(lines, len(lines))[1] + 1, len(lines))


def contains(data: object, path: TomlPath) -> bool:
    try:
        value_at(data, path)
    except (KeyError, IndexError, TypeError):
        return False
    return True


def value_at(data: object, path: TomlPath) -> object:
    for part in path:
        data = cast(Any, data)[part]
    return data


def _readable(lines: Sequence[str], count: int) -> tuple[dict[str, Any], int]:
    """What the longest readable prefix of at most `count` lines says, and how many lines it has."""
    for end in range(count, 0, -1):
        try:
            return tomllib.loads("\n".join(lines[:end])), end
        except (ValueError, RecursionError):
            continue
    return {}, 0
