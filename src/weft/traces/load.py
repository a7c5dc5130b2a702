"""From what a user names to a stream of requests, and one sentence that says what it is made from."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from itertools import islice
from pathlib import Path
from random import Random

from msgspec import structs

from weft.core.errors import InputError, TraceError
from weft.traces.arrivals import Arrivals
from weft.traces.azure import read_azure
from weft.traces.jsonl import read_jsonl
from weft.traces.mooncake import read_mooncake
from weft.traces.request import Request
from weft.traces.tau_bench import USER, read_tau_bench
from weft.traces.tracelab import read_tracelab_csv, read_tracelab_jsonl, tool_times_s


class Format(StrEnum):
    WEFT = "weft"
    MOONCAKE = "mooncake"
    AZURE = "azure"
    TRACELAB = "tracelab"
    TRACELAB_CSV = "tracelab-csv"
    TAU_BENCH = "tau-bench"


@dataclass(frozen=True, slots=True)
class Load:
    """`arrivals` replaces the trace's own times, or makes the load alone; `scale` divides times, so that twice as much
    comes. `tools` is a TraceLab file whose tool times a τ-bench trace takes. `most` requests at most."""

    trace: Path | None = None
    arrivals: Arrivals | None = None
    scale: float = 1.0
    most: int | None = None
    tools: Path | None = None
    seed: int = 0


@dataclass(frozen=True, slots=True)
class LoadStream:
    """`requests` can be read once."""

    requests: Iterator[Request]
    source: str


DEFAULT_REQUESTS = 10_000
"""Of a load without a trace."""


def open_load(load: Load) -> LoadStream:
    if not 0 < load.scale < float("inf"):
        raise InputError(subject="scale", problem=f"is {load.scale:g}", way_out="give a finite number above 0")
    if load.trace is None:
        return _generated(load)
    kind = format_of(load.trace)
    if kind in (Format.TAU_BENCH, Format.TRACELAB):
        return _composed(load, load.trace, kind)
    requests: Iterable[Request] = _READERS[kind](load.trace)
    said = f"{kind} trace {load.trace.name}"
    if load.arrivals is not None:
        requests = _retimed(requests, load.arrivals.times_s(load.seed))
        said = f"composed: sizes of {said}, {_said(load.arrivals)} instead of its times"
    if load.scale != 1.0:
        requests = (structs.replace(request, at_s=request.at_s / load.scale) for request in requests)
        said += f", at {load.scale:g} times its rate"
    return LoadStream(islice(iter(requests), load.most), said)


def format_of(path: Path) -> Format:
    """By the first line."""
    try:
        with path.open(encoding="utf-8") as file:
            line = next((line for line in file if line.strip()), "")[:4096]
    except (OSError, UnicodeDecodeError) as error:
        raise TraceError(subject=str(path), problem="cannot be read", way_out="give the path of a trace") from error
    marks = {
        Format.AZURE: line.startswith("TIMESTAMP,"),
        Format.TRACELAB_CSV: line.startswith("session_id,"),
        Format.TAU_BENCH: line.lstrip().startswith("["),
        Format.MOONCAKE: '"hash_ids"' in line,
        Format.TRACELAB: '"round_index"' in line and '"session_id"' in line,
        Format.WEFT: '"at_s"' in line,
    }
    found = next((kind for kind, fits in marks.items() if fits), None)
    if found is None:
        raise TraceError(
            subject=f"{path}:1",
            problem="is no trace format that is known here" if line else "the file is empty",
            way_out=f"give one of {', '.join(Format)} (docs/traces.md)",
        )
    return found


_READERS: Mapping[Format, Callable[[Path], Iterator[Request]]] = {
    Format.WEFT: read_jsonl,
    Format.MOONCAKE: read_mooncake,
    Format.AZURE: read_azure,
    Format.TRACELAB_CSV: read_tracelab_csv,
}


def _generated(load: Load) -> LoadStream:
    if load.arrivals is None:
        raise InputError(subject="load", problem="names neither a trace nor a rate", way_out="give --trace or --rate")
    arrivals = replace(load.arrivals, rate_per_s=load.arrivals.rate_per_s * load.scale)
    requests = (Request(at_s) for at_s in arrivals.times_s(load.seed))
    return LoadStream(
        islice(requests, load.most or DEFAULT_REQUESTS), f"generated: {_said(arrivals)}, sizes of the plan"
    )


def _composed(load: Load, trace: Path, kind: Format) -> LoadStream:
    """Traces without a common clock: their structure, times from a process; tool times of τ-bench from TraceLab."""
    if load.arrivals is None:
        raise TraceError(subject=str(trace), problem="has no times of its own", way_out="give --rate and --arrivals")
    arrivals = replace(load.arrivals, rate_per_s=load.arrivals.rate_per_s * load.scale)
    if kind is Format.TRACELAB:
        requests, said = read_tracelab_jsonl(trace), f"sessions of TraceLab ({trace.name})"
    else:
        requests, said = _with_tools(trace, load)
    requests = _retimed(requests, arrivals.times_s(load.seed))
    return LoadStream(islice(requests, load.most), f"composed: {said}, {_said(arrivals)}")


def _with_tools(trace: Path, load: Load) -> tuple[Iterator[Request], str]:
    tool_s = tool_times_s(load.tools) if load.tools else (0.0,)
    draw = Random(load.seed)
    requests = (
        structs.replace(run, waits_s=tuple(0.0 if after == USER else draw.choice(tool_s) for after in waits))
        for run, waits in read_tau_bench(trace)
    )
    tools = f"tool times of TraceLab ({load.tools.name})" if load.tools else "tools that take no time"
    said = f"structure of τ-bench ({trace.name}), 4 characters a token, {tools}, users who answer at once"
    return requests, said


def _retimed(requests: Iterable[Request], times_s: Iterator[float]) -> Iterator[Request]:
    for request, at_s in zip(requests, times_s, strict=False):
        yield structs.replace(request, at_s=at_s)


def _said(arrivals: Arrivals) -> str:
    swing = f" (±{arrivals.swing:.0%})"
    extra = {"bursty": f" (cv {arrivals.cv:g})", "mmpp": swing, "diurnal": swing}
    return f"{arrivals.kind} arrivals at {arrivals.rate_per_s:g}/s{extra.get(arrivals.kind, '')}"
