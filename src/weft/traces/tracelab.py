"""TraceLab's agent sessions (uw-syfi/TraceLab): rounds of model calls with what the tools between them took.

Two files of the project are read: the replay CSV (times in milliseconds), and the derived JSON lines, whose tools run
side by side (the longest counts) and whose pauses before a person's next message are kept. The latter have no common
clock: whoever uses them gives times and says so.
"""

from collections.abc import Iterator
from datetime import datetime
from itertools import groupby, pairwise
from pathlib import Path

import msgspec

from weft.traces.lines import at_least, bad_line, csv_rows, in_order, json_lines, whole
from weft.traces.request import CallSize, Request
from weft.traces.sessions import SessionPrefix

COLUMNS = ("session_id", "arrival_time", "round_idx", "prefix_len", "input_len", "output_len", "tool_wait_after_ms")


class _Event(msgspec.Struct):
    event_type: str
    timestamp: datetime


class _Tool(msgspec.Struct):
    tool_wall_latency_ms: float | None = None


class _Round(msgspec.Struct):
    session_id: str
    round_index: int
    prefix_tokens: int
    newly_append_tokens: int
    output_tokens: int
    timing_events: list[_Event]
    tools: list[_Tool] = msgspec.field(default_factory=list[_Tool])


def read_tracelab_csv(path: Path) -> Iterator[Request]:
    rows = csv_rows(path, COLUMNS)
    before_s, seen = 0.0, set[str]()
    for number, (session, rounds) in enumerate(groupby(rows, key=lambda row: row[1]["session_id"])):
        prefix = SessionPrefix(number)
        calls, waits_s, first = list[CallSize](), list[float](), 0
        for line, row in rounds:
            if not calls:
                first = line
                _once(path, line, session, seen)
                before_s = in_order(path, line, whole(path, line, row, "arrival_time", 0) / 1e3, before_s)
            _next_round(path, line, whole(path, line, row, "round_idx", 0), len(calls))
            sizes = (whole(path, line, row, "prefix_len", 0), whole(path, line, row, "input_len", 0))
            at_least(path, line, "prefix_len + input_len", sum(sizes), 1)
            calls.append(prefix.call(*sizes, whole(path, line, row, "output_len", 1)))
            waits_s.append(whole(path, line, row, "tool_wait_after_ms", 0) / 1e3)
        yield Request(before_s, tuple(calls), tuple(waits_s[:-1]), session=session, line=first)


def read_tracelab_jsonl(path: Path) -> Iterator[Request]:
    """Sessions as requests at 0 s: each was recorded at a date of its own, so the file has no common clock."""
    seen = set[str]()
    rows = json_lines(path, _Round)
    for number, (session, rounds) in enumerate(groupby(rows, key=lambda row: row[1].session_id)):
        lines = list(rounds)
        first = lines[0][0]
        _once(path, first, session, seen)
        calls = _calls(path, lines, SessionPrefix(number))
        waits = tuple(_wait_s(one, following) for (_, one), (_, following) in pairwise(lines))
        yield Request(0.0, calls, waits, session=session, line=first)


def tool_times_s(path: Path) -> tuple[float, ...]:
    """All tool times of a TraceLab file, to compose workloads from."""
    if path.suffix == ".csv":
        waits = (wait for request in read_tracelab_csv(path) for wait in request.waits_s)
        return tuple(sorted(wait for wait in waits if wait > 0))
    tools = (tool for _, one in json_lines(path, _Round) for tool in one.tools)
    return tuple(sorted(tool.tool_wall_latency_ms / 1e3 for tool in tools if tool.tool_wall_latency_ms))


def _calls(path: Path, lines: list[tuple[int, _Round]], prefix: SessionPrefix) -> tuple[CallSize, ...]:
    calls: list[CallSize] = []
    for line, one in lines:
        if not one.timing_events:
            raise bad_line(path, line, "has no timing_events")
        at_least(path, line, "prefix_tokens", one.prefix_tokens, 0)
        at_least(path, line, "newly_append_tokens", one.newly_append_tokens, 0)
        at_least(path, line, "prompt tokens", one.prefix_tokens + one.newly_append_tokens, 1)
        osl = at_least(path, line, "output_tokens", one.output_tokens, 1)
        calls.append(prefix.call(one.prefix_tokens, one.newly_append_tokens, osl))
    return tuple(calls)


def _wait_s(one: _Round, following: _Round) -> float:
    """What the tools took; where there was none, a person's pause."""
    tools = [tool.tool_wall_latency_ms or 0.0 for tool in one.tools]
    if tools:
        return max(tools) / 1e3
    pause = following.timing_events[0].timestamp - one.timing_events[-1].timestamp
    return max(0.0, pause.total_seconds())


def _once(path: Path, line: int, session: str, seen: set[str]) -> None:
    if session in seen:
        raise bad_line(path, line, f"session {session!r} came before, other sessions stand between: not grouped")
    seen.add(session)


def _next_round(path: Path, line: int, number: int, expected: int) -> None:
    if number != expected:
        raise bad_line(path, line, f"round_idx is {number}, {expected} comes next in its session")
