"""What a load asks of an agent, as the planner puts it: runs a second, and mean sizes of the model calls."""

import hashlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from weft.compiler.control_flow import agent_graph, repeats
from weft.compiler.dialects.llm import PrefillOp
from weft.compiler.pipeline import unplaced
from weft.compiler.request import CompileRequest
from weft.core.errors import InputError, TraceError
from weft.traces.load import DEFAULT_REQUESTS, Load, open_load
from weft.traces.request import CallSize, Request

EVERY = ""
"""Stands for all calls, where the load does not name them."""

BLOCK_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Demand:
    """`runs` at most; `sizes` are the mean tokens of prompt and answer by call, and the most of an answer. `source`
    says what the load is made from; `sha256` is its file's (None: it has none)."""

    runs: int
    rate_per_s: float
    sizes: dict[str, tuple[int, int, int]]
    source: str
    sha256: str | None = None


def demand_of(load: Load, request: CompileRequest) -> Demand:
    """Reads a trace once; what is generated is known without."""
    stream = open_load(load)
    if load.trace is None:
        assert load.arrivals is not None, "open_load refuses a load of nothing"
        return Demand(load.most or DEFAULT_REQUESTS, load.arrivals.rate_per_s * load.scale, {}, stream.source)
    counted = _counted(stream.requests, repeats(agent_graph(unplaced(request))))
    if counted.runs < 2 or counted.span_s <= 0:
        raise TraceError(
            subject=stream.source,
            problem=f"has {counted.runs} runs in {counted.span_s:g} s, so it has no rate",
            way_out="give a load of at least two runs at different times",
        )
    return Demand(counted.runs, counted.runs / counted.span_s, counted.sizes(), stream.source, _sha256(load.trace))


def planned_for(request: CompileRequest, demand: Demand) -> CompileRequest:
    """The request, for what a trace asks instead of what the program says."""
    if not demand.sizes:
        return replace(request, needs=replace(request.needs, rate_per_s=demand.rate_per_s))
    calls = [op.step_name.removesuffix(".prefill") for op in unplaced(request).walk() if isinstance(op, PrefillOp)]
    if unknown := sorted(demand.sizes.keys() - {EVERY, *calls}):
        raise TraceError(
            subject=demand.source,
            problem=f"names model call {unknown[0]!r}, the agent has {', '.join(calls) or 'none'}",
            way_out="give a trace of this agent",
        )
    if request.needs.workload is not None:
        raise InputError(
            subject=f"workload {request.needs.workload}",
            problem="says a rate and sizes, and so does the trace",
            way_out="leave out --workload, or the trace",
        )
    sizes: list[str] = []
    for call in calls:
        found = demand.sizes.get(call) or demand.sizes.get(EVERY) or ()
        sizes += [f"{call}.{key}={value}" for key, value in zip(("isl", "osl", "max_tokens"), found, strict=False)]
    needs = replace(request.needs, rate_per_s=demand.rate_per_s, sizes=(*request.needs.sizes, *sizes))
    return replace(request, needs=needs)


@dataclass(slots=True)
class _Counted:
    runs: int
    first_s: float
    last_s: float
    tokens: dict[str, Counter[str]]

    @property
    def span_s(self) -> float:
        return self.last_s - self.first_s

    def sizes(self) -> dict[str, tuple[int, int, int]]:
        return {
            name: (max(1, round(seen["isl"] / seen["calls"])), max(1, round(seen["osl"] / seen["calls"])), seen["most"])
            for name, seen in self.tokens.items()
        }


def _counted(requests: Iterator[Request], loops: bool) -> _Counted:
    """Where the program has no loop, each call of a session is a run of its own."""
    found = _Counted(0, 0.0, 0.0, {})
    for request in requests:
        if not found.runs:
            found.first_s = request.at_s
        found.last_s = request.at_s
        found.runs += 1 if loops else max(1, len(request.calls))
        for name, size in _calls(request):
            seen = found.tokens.setdefault(name, Counter())
            seen.update(calls=1, isl=size.isl, osl=size.osl)
            seen["most"] = max(seen["most"], size.osl)
    return found


def _calls(request: Request) -> Iterator[tuple[str, CallSize]]:
    yield from ((EVERY, size) for size in request.calls)
    for name, sizes in request.steps.items():
        yield from ((name, size) for size in sizes)


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while part := file.read(BLOCK_BYTES):
            digest.update(part)
    return digest.hexdigest()
