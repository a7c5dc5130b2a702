"""Study `failure`: one replica fails a minute into a run. What is lost, what is late, and for how long?

On the prefill pool and on the decode pool of a fleet that keeps the phases apart, and on the pool of one that does not;
with the replica gone for good, back after half a minute, and with one more started once queues are seen to grow.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from weft.compiler.pipeline import compile_agent
from weft.compiler.request import Aim, CompileRequest, Needs, Rules, Supply
from weft.core.deployment import Deployment
from weft.core.metrics import RequestRecord
from weft.core.workload import Slo
from weft.sim.faults import Autoscaling, Failure, Trouble
from weft.sim.simulate import SimConfig, simulate
from weft.study.pairs import Progress
from weft.traces.arrivals import ArrivalKind, Arrivals
from weft.traces.request import Request

AGENT = str(Path(__file__).parent / "chat_agent.py")
RATE_PER_S, SPAN_S, FAILS_AT_S = 8.0, 180.0, 60.0
SIZES = ("answer.isl=4096", "answer.osl=512")
DOWN_S, DELAY_S = 30.0, 45.0
BIN_S = 3.0
UNDER_WAY_S = 30.0
"""Runs that came so long before the failure have ended by then."""

WORSE = 0.02
"""By which fewer runs may be in time than when nothing fails."""

NOTHING = "nothing fails"
STAYS_DOWN, COMES_BACK, IS_REPLACED = "stays down", "is back after 30 s", "one more, 45 s after queues grow"


@dataclass(frozen=True, slots=True)
class Case:
    """Where it fails, and what runs there. `serving`: see plan.requests.Serving."""

    name: str
    serving: str
    pool: str
    pins: tuple[str, ...]


APART = ("answer.prefill=mi300x", "answer.decode=gaudi3")
CASES = (
    Case("a prefill replica", "disaggregated", "prefill", APART),
    Case("a decode replica", "disaggregated", "decode", APART),
    Case("a replica of both phases", "aggregated", "serve", ("answer=gaudi3",)),
)
REACTIONS = (STAYS_DOWN, COMES_BACK, IS_REPLACED)


@dataclass(frozen=True, slots=True)
class Row:
    """Of all runs `lost` never ended, `late` missed the objective (`late_without`: when nothing fails). `dip`: the
    least share in time of those that came within three seconds, not long before the failure or after it.
    `recovered_s`: from the failure to the last such three seconds that are worse than when nothing fails; None: it
    never did."""

    case: str
    reaction: str
    pool: str
    replicas: int
    runs: int
    lost: int
    restarted: int
    late: int
    late_without: int
    dip: float
    recovered_s: float | None


@dataclass(frozen=True, slots=True)
class Course:
    """The share of runs in time by when they came, one number each `BIN_S`."""

    case: str
    reaction: str
    in_time: tuple[float, ...]


def fleet(case: Case) -> Deployment:
    """Planned for the load, of small replicas, so that each pool has several."""
    request = CompileRequest(
        AGENT,
        Needs(slo="relaxed", rate_per_s=RATE_PER_S, sizes=SIZES),
        Supply(settings=("gaudi3.count=64", "mi300x.count=64")),
        Rules(precisions=("fp8",), serving=case.serving, pins=case.pins),
        Aim(compare=False),
    )
    return compile_agent(request)


def run(progress: Progress | None = None, cases: tuple[Case, ...] = CASES) -> tuple[list[Row], list[Course]]:
    rows, courses = list[Row](), list[Course]()
    for case in cases:
        plan = fleet(case)
        undisturbed = _in_time(plan, ())[0]
        courses.append(Course(case.name, NOTHING, tuple(_binned(undisturbed))))
        for reaction in REACTIONS:
            row, course = one(case, plan, reaction, undisturbed)
            rows.append(row)
            courses.append(course)
            if progress:
                progress(len(rows), len(cases) * len(REACTIONS))
    return rows, courses


def one(case: Case, plan: Deployment, reaction: str, undisturbed: Sequence[bool | None]) -> tuple[Row, Course]:
    """`undisturbed`: which runs are in time when nothing fails."""
    pool = next(each for each in plan.pools if each.name.startswith(case.pool))
    good, restarted = _in_time(plan, troubles(reaction, pool.name, pool.replicas))
    bins = list(_binned(good))
    since = list(zip(bins, _binned(undisturbed), strict=True))[int((FAILS_AT_S - UNDER_WAY_S) / BIN_S) :]
    row = Row(
        case=case.name,
        reaction=reaction,
        pool=pool.name,
        replicas=pool.replicas,
        runs=len(good),
        lost=sum(ok is None for ok in good),
        restarted=restarted,
        late=sum(ok is False for ok in good),
        late_without=sum(not ok for ok in undisturbed),
        dip=min(share for share, _ in since),
        recovered_s=_recovered_s(since),
    )
    return row, Course(case.name, reaction, tuple(bins))


def troubles(reaction: str, pool: str, replicas: int) -> tuple[Trouble, ...]:
    fails = Failure(pool, 1, FAILS_AT_S, DOWN_S if reaction == COMES_BACK else None)
    if reaction == IS_REPLACED:
        return fails, Autoscaling(pool, replicas, queue=1.0, delay_s=DELAY_S, every_s=1.0)
    return (fails,)


def arrivals() -> Iterator[float]:
    for at_s in Arrivals(ArrivalKind.POISSON, RATE_PER_S).times_s(0):
        if at_s > SPAN_S:
            return
        yield at_s


def _in_time(plan: Deployment, happening: tuple[Trouble, ...]) -> tuple[list[bool | None], int]:
    """Of each run, in order of arrival, whether it was in time (None: it never ended), and how many started again."""
    times_s = list(arrivals())
    good: list[bool | None] = [None] * len(times_s)

    def note(number: int, record: RequestRecord) -> None:
        good[number] = kept(record, plan.slo)

    config = SimConfig(troubles=happening, stop_overload=False)
    outcome = simulate(plan, (Request(at_s) for at_s in times_s), config, on_record=note)
    return good, sum(call.restarted for call in outcome.summary.calls)


def kept(record: RequestRecord, slo: Slo) -> bool:
    """As the simulator's own recorder judges a run of one call."""
    first = next(step for step in record.steps if step.step.endswith(".prefill"))
    last = next(step for step in record.steps if step.step.endswith(".decode"))
    assert first.first_output_s is not None
    ttft_s = first.first_output_s - first.started_s
    tpot_s = (last.ended_s - first.first_output_s) / max(1, last.output_tokens)
    return ttft_s <= (slo.ttft_s or ttft_s) and tpot_s <= (slo.tpot_s or tpot_s)


def _binned(good: Sequence[bool | None]) -> Iterator[float]:
    times_s = list(arrivals())
    for at in range(int(SPAN_S / BIN_S)):
        here = [bool(ok) for at_s, ok in zip(times_s, good, strict=True) if at * BIN_S <= at_s < (at + 1) * BIN_S]
        yield sum(here) / len(here) if here else 1.0


def _recovered_s(since: Sequence[tuple[float, float]]) -> float | None:
    """Share in time, and when nothing fails, from `UNDER_WAY_S` before the failure on."""
    bad = [at for at, (share, usual) in enumerate(since) if share < usual - WORSE]
    if not bad:
        return 0.0
    return None if bad[-1] == len(since) - 1 else max(0.0, (bad[-1] + 1) * BIN_S - UNDER_WAY_S)
