"""Readers of traces: what a row becomes, what is refused with its line, and that a file is streamed."""

import json
from itertools import islice
from pathlib import Path

import pytest

from weft.core.errors import InputError, TraceError
from weft.traces.arrivals import ArrivalKind, Arrivals
from weft.traces.load import Format, Load, format_of, open_load
from weft.traces.request import CallSize, Request

MOONCAKE = '{"timestamp": 500, "input_length": 700, "output_length": 5, "hash_ids": [0, 7]}'
AZURE = (
    "TIMESTAMP,ContextTokens,GeneratedTokens\n2023-11-16 18:17:03.9799600,4808,10\n2023-11-16 18:17:04.4799600,110,27\n"
)
TRACELAB = "session_id,arrival_time,round_idx,prefix_len,input_len,output_len,tool_wait_after_ms\n"
WEFT = '{"at_s": 1, "isl": 10, "osl": 2}'


def written(folder: Path, text: str) -> Path:
    path = folder / "trace"
    path.write_text(text)
    return path


def read(path: Path, **load: object) -> list[Request]:
    return list(open_load(Load(path, **load)).requests)  # type: ignore[arg-type]


def test_mooncake(tmp_path: Path) -> None:
    (request,) = read(written(tmp_path, MOONCAKE))
    assert request == Request(0.5, (CallSize(700, 5, (0, 7), 512, 700),), line=1)


def test_azure(tmp_path: Path) -> None:
    first, second = read(written(tmp_path, AZURE))
    assert (first.at_s, second.at_s, second.calls) == (0.0, 0.5, (CallSize(110, 27),))


def test_tracelab_sessions_share_their_prefix(tmp_path: Path) -> None:
    rows = "a,100,0,0,320,16,250\na,100,1,336,64,16,0\nb,200,0,0,32,8,0\n"
    one, other = read(written(tmp_path, TRACELAB + rows))
    first, second = one.calls
    assert (one.at_s, one.waits_s, other.at_s) == (0.1, (0.25,), 0.2)
    assert (second.isl, second.osl) == (400, 16)
    assert second.blocks[:21] == first.blocks
    assert not set(other.calls[0].blocks) & set(second.blocks)


def test_a_shortened_context_keeps_only_what_is_left(tmp_path: Path) -> None:
    rows = "a,100,0,0,320,16,0\na,100,1,160,64,16,0\n"
    ((first, second),) = (request.calls for request in read(written(tmp_path, TRACELAB + rows)))
    assert second.blocks[:10] == first.blocks[:10]
    assert not set(second.blocks[10:]) & set(first.blocks)


def round_of(session: str, index: int, second: int, tool_ms: float | None) -> str:
    tools = [] if tool_ms is None else [{"tool_wall_latency_ms": tool_ms}, {"tool_wall_latency_ms": 1.0}]
    event = {"event_type": "text", "timestamp": f"2026-06-01T05:40:{second:02}.000Z"}
    sizes = {"prefix_tokens": 0, "newly_append_tokens": 32, "output_tokens": 4}
    return json.dumps({"session_id": session, "round_index": index, "timing_events": [event], "tools": tools} | sizes)


def test_tracelab_json_lines_need_times(tmp_path: Path) -> None:
    path = written(
        tmp_path, "\n".join([round_of("s", 0, 1, 2000.0), round_of("s", 1, 9, None), round_of("s", 2, 14, None)])
    )
    with pytest.raises(TraceError, match="no times of its own"):
        open_load(Load(path))
    stream = open_load(Load(path, Arrivals(ArrivalKind.UNIFORM, 2.0)))
    (request,) = stream.requests
    assert (request.at_s, request.waits_s) == (0.5, (2.0, 5.0))
    assert stream.source.startswith("composed: sessions of TraceLab")


def test_tau_bench_takes_times_and_tools_from_elsewhere(tmp_path: Path) -> None:
    messages = [
        {"role": "system", "content": "x" * 400},
        {"role": "user", "content": "y" * 40},
        {"role": "assistant", "content": None, "tool_calls": [{"name": "z"}]},
        {"role": "tool", "content": "w" * 80},
        {"role": "assistant", "content": "v" * 20},
    ]
    path = written(tmp_path, json.dumps([{"task_id": 3, "traj": messages, "reward": 1.0}]))
    tools = tmp_path / "tools"
    tools.write_text(round_of("s", 0, 1, 2000.0))
    stream = open_load(Load(path, Arrivals(ArrivalKind.UNIFORM, 1.0), tools=tools))
    (request,) = stream.requests
    assert [(call.isl, call.osl) for call in request.calls] == [(110, 4), (134, 5)]
    assert request.waits_s[0] in (2.0, 0.001)
    assert "composed: structure of τ-bench" in stream.source
    assert "TraceLab" in stream.source


def test_weft(tmp_path: Path) -> None:
    line = {"at_s": 0.5, "calls": [{"isl": 64, "osl": 2, "blocks": [1, 2], "block_tokens": 32}], "waits_s": [1.5]}
    line |= {"steps": {"think": [{"isl": 3, "osl": 4}]}, "choices": {"wants": [1, 0]}, "session": "s"}
    (request,) = read(written(tmp_path, json.dumps(line)))
    assert request.calls == (CallSize(64, 2, (1, 2), 32, 64),)
    assert request.steps == {"think": (CallSize(3, 4, (), 0, 3),)}
    assert (request.choices, request.session, request.waits_s) == ({"wants": (1, 0)}, "s", (1.5,))


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (f"{MOONCAKE}\n" + MOONCAKE.replace("500", "400"), r"trace:2: comes at 0.4 s, after one at 0.5 s"),
        (MOONCAKE.replace("500", "-1"), r"trace:1: comes at -0.001 s"),
        (f"{MOONCAKE}\n\n" + '{"timestamp": 600, "hash_ids": []}', r"trace:3: .*input_length"),
        (MOONCAKE.replace("700", "2000"), r"tokens of hash_ids is 1024, must be at least 2000"),
        (MOONCAKE.replace(": 5,", ": 0,"), r"output_length is 0, must be at least 1"),
        (MOONCAKE + '\n{"timestamp": 1, ', r"trace:2: "),
        (AZURE.replace("4808", ""), r"trace:2: has no ContextTokens"),
        (AZURE.replace("110", "many"), r"trace:3: ContextTokens is 'many', not a whole number"),
        (AZURE.replace("18:17:04", "18:17:02"), r"trace:3: comes at -1.5 s"),
        (AZURE.replace("2023-11-16 18:17:04", "yesterday"), r"trace:3: TIMESTAMP is 'yesterday"),
        (TRACELAB + "a,1,0,0,9,1,0\nb,2,0,0,9,1,0\na,3,0,0,9,1,0\n", r"trace:4: session 'a' came before"),
        (TRACELAB + "a,1,0,0,9,1,0\na,1,2,0,9,1,0\n", r"trace:3: round_idx is 2, 1 comes next"),
        (WEFT.replace("osl", "olse"), r"trace:1: .*olse"),
        (WEFT.replace('"osl": 2', '"session": "s"'), r"trace:1: give isl and osl"),
        (WEFT.replace("10", "0"), r"trace:1: isl is 0"),
        ("", "empty"),
        ("hello\n", "no trace format"),
    ],
)
def test_bad_lines_are_told_by_number(tmp_path: Path, text: str, problem: str) -> None:
    with pytest.raises(TraceError, match=problem):
        read(written(tmp_path, text))


def test_rates_and_scales_are_said(tmp_path: Path) -> None:
    path = written(tmp_path, "\n".join([MOONCAKE] * 4))
    assert [request.at_s for request in read(path, scale=2.0)] == [0.25] * 4
    stream = open_load(Load(path, Arrivals(ArrivalKind.UNIFORM, 4.0), most=3))
    assert [request.at_s for request in stream.requests] == [0.25, 0.5, 0.75]
    assert stream.source.startswith("composed: sizes of mooncake trace")
    assert format_of(path) is Format.MOONCAKE
    with pytest.raises(InputError, match="scale"):
        open_load(Load(path, scale=0.0))
    with pytest.raises(InputError, match="neither a trace nor a rate"):
        open_load(Load())
    with pytest.raises(TraceError, match="cannot be read"):
        open_load(Load(tmp_path / "none"))


def test_a_trace_is_streamed(tmp_path: Path) -> None:
    """The bad last line is not met before it is needed."""
    path = written(tmp_path, "\n".join([MOONCAKE] * 1000) + "\nbroken")
    requests = open_load(Load(path)).requests
    assert len(list(islice(requests, 1000))) == 1000
    with pytest.raises(TraceError, match="trace:1001"):
        next(requests)
