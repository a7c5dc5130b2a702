"""Mooncake's traces: one model call a line, prompts as chained ids of 512-token blocks (FAST25-release/traces)."""

from collections.abc import Iterator
from pathlib import Path

import msgspec

from weft.traces.lines import at_least, in_order, json_lines
from weft.traces.request import CallSize, Request

BLOCK_TOKENS = 512


class _Row(msgspec.Struct):
    """`timestamp` in milliseconds."""

    timestamp: float
    input_length: int
    output_length: int
    hash_ids: tuple[int, ...]


def read_mooncake(path: Path) -> Iterator[Request]:
    before_s = 0.0
    for line, row in json_lines(path, _Row):
        before_s = in_order(path, line, row.timestamp / 1e3, before_s)
        isl = at_least(path, line, "input_length", row.input_length, 1)
        osl = at_least(path, line, "output_length", row.output_length, 1)
        at_least(path, line, "tokens of hash_ids", len(row.hash_ids) * BLOCK_TOKENS, isl)
        yield Request(before_s, (CallSize(isl, osl, row.hash_ids, BLOCK_TOKENS, isl),), line=line)
