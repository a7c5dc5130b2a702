"""Study `mix`: a heterogeneous fleet beside homogeneous ones of the same price, under load.

For one budget the planner finds the most runs a second that keep the objective: with every kind of accelerator at its
disposal, and with one kind only. Each of these fleets then meets less and more than that in the simulator: a fleet that
is offered far too much does worse than one that is full, so each is offered shares of its own.
"""

from dataclasses import dataclass, replace
from pathlib import Path

from weft.compiler.pipeline import compile_agent, plan_request_of
from weft.compiler.request import Aim, CompileRequest, Needs, Rules, Supply
from weft.core.deployment import Deployment
from weft.core.errors import PlanError
from weft.plan.goodput import most_runs
from weft.sim.simulate import SimConfig, simulate
from weft.study.pairs import Progress
from weft.study.space import short
from weft.traces.arrivals import ArrivalKind, Arrivals
from weft.traces.load import Load, open_load

AGENT = str(Path(__file__).parent / "chat_agent.py")
DEVICES = ("b200", "h100-sxm", "gaudi3", "mi300x")
OTHERS = ("a100-sxm", "l40s", "a40", "epyc-9965")
COUNT = 128
"""Of each kind: more than the budget buys."""

BUDGET_USD_PER_HOUR = 24.0
TOLERANCE, FIRST_PER_S = 0.02, 4.0
SHARES = (0.8, 1.0, 1.15, 1.3)
"""Offered, of what the fleet was planned for."""

SPAN_S = 30.0
"""For which runs come."""

MIX = "the mix"


@dataclass(frozen=True, slots=True)
class Workload:
    """Tokens of the one call of a run, and how runs come."""

    name: str
    precision: str
    isl: int
    osl: int
    arrivals: ArrivalKind


WORKLOADS = (
    Workload("8192/256 FP8", "fp8", 8192, 256, ArrivalKind.POISSON),
    Workload("8192/256 FP16", "fp16", 8192, 256, ArrivalKind.POISSON),
    Workload("1024/1024 FP16", "fp16", 1024, 1024, ArrivalKind.POISSON),
)


@dataclass(frozen=True, slots=True)
class Fleet:
    """`planned_per_s`: the most that the planner promises of it."""

    name: str
    plan: Deployment
    planned_per_s: float


@dataclass(frozen=True, slots=True)
class Row:
    """`offered_per_s` came, `goodput_per_s` ended within the objective, that share of all is `in_time`."""

    workload: str
    fleet: str
    pools: str
    usd_per_hour: float
    planned_per_s: float
    offered_per_s: float
    goodput_per_s: float
    in_time: float
    ttft_p95_s: float
    tpot_p95_s: float


def fleets(workload: Workload, devices: tuple[str, ...] = DEVICES) -> list[Fleet]:
    """The mixed one first; without those of accelerators that cannot keep the objective within the budget."""
    found: list[Fleet] = []
    for name, pins in ((MIX, ()), *((short(device), (f"answer={device}",)) for device in devices)):
        request = _request(workload, pins, devices)
        try:
            rate_per_s, _ = most_runs(plan_request_of(request), BUDGET_USD_PER_HOUR, TOLERANCE, FIRST_PER_S)
        except PlanError:
            continue
        found.append(
            Fleet(
                name, compile_agent(replace(request, needs=replace(request.needs, rate_per_s=rate_per_s))), rate_per_s
            )
        )
    return found


def _request(workload: Workload, pins: tuple[str, ...], devices: tuple[str, ...]) -> CompileRequest:
    counts = {device: COUNT if device in devices else 0 for device in (*DEVICES, *OTHERS)}
    return CompileRequest(
        AGENT,
        Needs(
            slo="relaxed",
            sizes=(f"answer.isl={workload.isl}", f"answer.osl={workload.osl}", f"answer.max_tokens={workload.osl}"),
        ),
        Supply(settings=tuple(f"{device}.count={count}" for device, count in counts.items())),
        Rules(precisions=(workload.precision,), pins=pins),
        Aim(compare=False),
    )


def run(
    workloads: tuple[Workload, ...] = WORKLOADS, span_s: float = SPAN_S, progress: Progress | None = None
) -> list[Row]:
    rows: list[Row] = []
    for number, workload in enumerate(workloads):
        these = fleets(workload)
        rows += [row_of(workload, fleet, share * fleet.planned_per_s, span_s) for fleet in these for share in SHARES]
        if progress:
            progress(number + 1, len(workloads))
    return rows


def row_of(workload: Workload, fleet: Fleet, rate_per_s: float, span_s: float) -> Row:
    """Overload is seen through to the end: what is late is late."""
    load = Load(arrivals=Arrivals(workload.arrivals, rate_per_s), most=round(rate_per_s * span_s))
    outcome = simulate(fleet.plan, open_load(load).requests, SimConfig(stop_overload=False))
    summary, columns = outcome.summary, next(iter(outcome.recorder.calls.values()))
    return Row(
        workload=workload.name,
        fleet=fleet.name,
        pools=", ".join(f"{pool.replicas} {pool.name}{_size(pool.parallelism.tp)}" for pool in fleet.plan.pools),
        usd_per_hour=fleet.plan.answer.usd_per_hour,
        planned_per_s=fleet.planned_per_s,
        offered_per_s=rate_per_s,
        goodput_per_s=summary.in_time * rate_per_s,
        in_time=summary.in_time,
        ttft_p95_s=columns.ttft.quantiles((0.95,))[0],
        tpot_p95_s=columns.tpot.quantiles((0.95,))[0],
    )


def _size(tp: int) -> str:
    return f" tp{tp}" if tp > 1 else ""
