"""Study `routing`: who should take a model call? Our router beside three others, in the simulator.

One fleet of equal replicas that serve whole calls, three kinds of load whose prompts repeat each other's beginnings:
Mooncake's conversation trace at two rates, on which the weights of our router were looked at, and two on which they
were not: sessions of TraceLab, and τ-bench's agent runs, which start at random times (several seeds).
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from weft.compiler.pipeline import compile_agent
from weft.compiler.request import Aim, CompileRequest, Needs, Rules
from weft.control.size import with_replicas
from weft.core.deployment import Deployment
from weft.sim.routing import RouterKind
from weft.sim.simulate import Outcome, SimConfig, simulate
from weft.study.pairs import Progress
from weft.traces.arrivals import ArrivalKind, Arrivals
from weft.traces.load import Load, open_load

AGENT = str(Path(__file__).parent / "chat_agent.py")
MOONCAKE, TRACELAB, TAU = (
    "mooncake_conversation_trace.jsonl",
    "tracelab_multi_session_large.csv",
    "tau_bench_gpt4o_airline_trajectories.json",
)
REPLICAS = 8
MOONCAKE_CALLS, SEEDS = 1300, (0, 1)
"""Enough to tell the routers apart in seconds."""

SIZES = ("answer.isl=12035", "answer.osl=343", "answer.max_tokens=2000")
"""Means of the conversation trace: what the replicas are planned for."""


@dataclass(frozen=True, slots=True)
class Case:
    """`seen`: the router's weights were looked at on this trace. `load` is relative to the folder of traces."""

    name: str
    load: Load
    seen: bool


CASES = (
    Case("Mooncake", Load(Path(MOONCAKE), most=MOONCAKE_CALLS), True),
    Case("Mooncake ×1.5", Load(Path(MOONCAKE), most=MOONCAKE_CALLS, scale=1.5), True),
    *(Case("τ-bench", Load(Path(TAU), Arrivals(ArrivalKind.POISSON, 6.0), seed=seed), False) for seed in SEEDS),
    Case("TraceLab", Load(Path(TRACELAB), scale=2.0), False),
)


@dataclass(frozen=True, slots=True)
class Row:
    """Times in seconds. `imbalance` is the busiest replica's work over the mean replica's."""

    case: str
    seed: int
    seen: bool
    router: str
    calls: int
    ttft_p50_s: float
    ttft_p90_s: float
    ttft_p99_s: float
    tpot_p99_s: float
    hit_rate: float
    imbalance: float
    busy: float


def fleet() -> Deployment:
    """Eight of the replicas that the planner takes where one pool serves whole calls."""
    request = CompileRequest(
        AGENT,
        Needs(slo="relaxed", rate_per_s=3.4, sizes=SIZES),
        rules=Rules(precisions=("fp8",), serving="aggregated"),
        aim=Aim(compare=False),
    )
    plan = compile_agent(request)
    return with_replicas(plan, tuple(REPLICAS if pool.model else pool.replicas for pool in plan.pools))


def run(traces: Path, progress: Progress | None = None, cases: tuple[Case, ...] = CASES) -> list[Row]:
    plan, rows = fleet(), list[Row]()
    for case in cases:
        for router in RouterKind:
            rows.append(row_of(plan, case, router, traces))
            if progress:
                progress(len(rows), len(cases) * len(RouterKind))
    return rows


def row_of(plan: Deployment, case: Case, router: RouterKind, traces: Path) -> Row:
    assert case.load.trace is not None
    load = replace(case.load, trace=traces / case.load.trace)
    outcome = simulate(plan, open_load(load).requests, SimConfig(seed=load.seed, router=router))
    call = outcome.summary.calls[0]
    work = list(_work(outcome))
    return Row(
        case=case.name,
        seed=load.seed,
        seen=case.seen,
        router=str(router),
        calls=call.ttft_s.count,
        ttft_p50_s=call.ttft_s.p50,
        ttft_p90_s=call.ttft_s.p90,
        ttft_p99_s=call.ttft_s.p99,
        tpot_p99_s=call.tpot_s.p99,
        hit_rate=call.hit_rate,
        imbalance=max(work) * len(work) / max(sum(work), 1e-12),
        busy=sum(work) / len(work),
    )


def _work(outcome: Outcome) -> Iterator[float]:
    """The share of its time that each replica worked."""
    for shares in outcome.busy.values():
        yield sum(shares) * outcome.bin_s / outcome.summary.span_s
