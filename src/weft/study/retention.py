"""Study `retention`: what should become of an agent's KV cache while it waits for a tool?

One replica, sessions whose context grows from call to call, tools outside the fleet in between, simulated: dropped
(the prefix cache keeps it until its place is needed), kept come what may, always copied to a tier, and our rule.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

from weft.compiler.pipeline import compile_agent
from weft.compiler.request import Aim, CompileRequest, Needs, Rules
from weft.core.deployment import Deployment
from weft.policy.retention import Rule
from weft.sim.simulate import SimConfig, simulate
from weft.sim.tiers import parse_tier
from weft.study.pairs import Progress
from weft.traces.arrivals import ArrivalKind, Arrivals
from weft.traces.load import Load, open_load

AGENT = str(Path(__file__).parent / "tool_agent.py")
TRACES = Path("../shared/data/traces")
"""Where the public traces are; they do not ship."""
SESSIONS, TOOLS = "tau_bench_gpt4o_airline_trajectories.json", "tracelab_example_round_trace.jsonl"
DEVICE = "h100-sxm"
RATES_PER_S = (2.0, 4.0)
RUNS = 170
"""Sessions of the trace that are taken: a study should end in seconds."""
TIERS = {"none": "", "host": "512GB@50GB/s", "disk": "4TB@6GB/s+0.2ms"}
"""Assumed: a host's memory over PCIe 5 and an NVMe disk, of each replica."""
CASES = (
    ("none", Rule.DROP),
    ("none", Rule.KEEP),
    ("none", Rule.WEFT),
    ("host", Rule.OFFLOAD),
    ("host", Rule.WEFT),
    ("disk", Rule.OFFLOAD),
    ("disk", Rule.WEFT),
)


@dataclass(frozen=True, slots=True)
class Row:
    """One run of the simulator. `load` says what it is composed of; bytes are those of the tier."""

    load: str
    rate_per_s: float
    tier: str
    rule: str
    calls: int
    ttft_mean_s: float
    ttft_p50_s: float
    ttft_p99_s: float
    hit_rate: float
    span_s: float
    preempted: int
    yielded: int
    bytes_in: int
    bytes_out: int


@cache
def fleet() -> Deployment:
    """One of the replicas that the planner takes on this device where one pool serves whole calls."""
    request = CompileRequest(
        AGENT,
        Needs(slo="relaxed", rate_per_s=20.0),
        rules=Rules(serving="aggregated", pins=(f"think={DEVICE}",)),
        aim=Aim(compare=False),
    )
    plan = compile_agent(request)
    return replace(plan, pools=tuple(replace(pool, replicas=1) for pool in plan.pools))


def run(
    traces: Path = TRACES,
    progress: Progress | None = None,
    rates_per_s: Sequence[float] = RATES_PER_S,
    most: int = RUNS,
) -> list[Row]:
    asked = [(rate, tier, rule) for rate in rates_per_s for tier, rule in CASES]
    rows: list[Row] = []
    for at, case in enumerate(asked):
        rows.append(_row(traces, most, *case))
        if progress:
            progress(at + 1, len(asked))
    return rows


def best_other(rows: Sequence[Row], ours: Row) -> Row:
    """Of those with the same load and tier; what needs no tier may be done with one too."""
    others = [row for row in rows if row.rate_per_s == ours.rate_per_s and row.rule != Rule.WEFT]
    return min((row for row in others if row.tier in ("none", ours.tier)), key=lambda row: row.ttft_mean_s)


def duels(rows: Sequence[Row]) -> Iterator[tuple[Row, Row]]:
    """Ours, and the best of the others."""
    for row in rows:
        if row.rule == Rule.WEFT:
            yield row, best_other(rows, row)


def _row(traces: Path, most: int, rate_per_s: float, tier: str, rule: Rule) -> Row:
    arrivals = Arrivals(ArrivalKind.POISSON, rate_per_s)
    stream = open_load(Load(traces / SESSIONS, arrivals, most=most, tools=traces / TOOLS))
    terms = parse_tier(TIERS[tier]) if TIERS[tier] else None
    config = SimConfig(retention=rule, tier=terms, stop_overload=False, source=stream.source)
    summary = simulate(fleet(), stream.requests, config).summary
    call, found = summary.calls[0], summary.retention
    assert found is not None
    return Row(
        load=summary.source,
        rate_per_s=rate_per_s,
        tier=tier,
        rule=str(rule),
        calls=call.ttft_s.count,
        ttft_mean_s=call.ttft_s.mean,
        ttft_p50_s=call.ttft_s.p50,
        ttft_p99_s=call.ttft_s.p99,
        hit_rate=call.hit_rate,
        span_s=summary.span_s,
        preempted=call.preempted,
        yielded=found.yielded,
        bytes_in=found.bytes_in,
        bytes_out=found.bytes_out,
    )
