"""Weft's own trace format: one request a line (docs/traces.md). Unknown fields are refused, so none is misspelt."""

from collections.abc import Iterator
from pathlib import Path

import msgspec

from weft.traces.lines import at_least, bad_line, in_order, json_lines
from weft.traces.request import CallSize, Request


class _Call(msgspec.Struct, forbid_unknown_fields=True):
    isl: int
    osl: int
    blocks: tuple[int, ...] = ()
    block_tokens: int = 0


class _Line(msgspec.Struct, forbid_unknown_fields=True):
    at_s: float
    isl: int | None = None
    osl: int | None = None
    calls: tuple[_Call, ...] = ()
    waits_s: tuple[float, ...] = ()
    steps: dict[str, tuple[_Call, ...]] = msgspec.field(default_factory=dict[str, tuple[_Call, ...]])
    choices: dict[str, tuple[int, ...]] = msgspec.field(default_factory=dict[str, tuple[int, ...]])
    session: str = ""


def read_jsonl(path: Path) -> Iterator[Request]:
    before_s = 0.0
    for line, row in json_lines(path, _Line):
        before_s = in_order(path, line, row.at_s, before_s)
        for wait_s in row.waits_s:
            at_least(path, line, "waits_s", wait_s, 0)
        yield Request(
            before_s,
            calls=tuple(_size(path, line, call) for call in _calls(path, line, row)),
            waits_s=row.waits_s,
            steps={name: tuple(_size(path, line, call) for call in calls) for name, calls in row.steps.items()},
            choices=row.choices,
            session=row.session,
            line=line,
        )


def _calls(path: Path, line: int, row: _Line) -> tuple[_Call, ...]:
    if row.isl is None and row.osl is None:
        return row.calls
    if row.isl is None or row.osl is None or row.calls:
        raise bad_line(path, line, "give isl and osl of one call, or a list of calls")
    return (_Call(row.isl, row.osl),)


def _size(path: Path, line: int, call: _Call) -> CallSize:
    at_least(path, line, "isl", call.isl, 1)
    at_least(path, line, "osl", call.osl, 1)
    if call.blocks and call.block_tokens < 1:
        raise bad_line(path, line, "has blocks without block_tokens, their size")
    return CallSize(call.isl, call.osl, call.blocks, call.block_tokens, call.isl)
