"""Plan, simulate, tighten, plan again: until enough runs end within the objective, or nothing more helps.

Each round tightens the limits that what was measured points to (`causes`); the planner answers them with whatever is
cheapest. The loop ends when the plan holds, when no change has a plan, or after so many rounds.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from weft.compiler.pipeline import compile_agent
from weft.compiler.request import CompileRequest
from weft.control.causes import Cause, Kind, causes
from weft.control.demand import Demand
from weft.control.trial import Measured, Timing, Trial, worst_burst
from weft.core.deployment import Deployment, Validation
from weft.core.errors import NoPlacementError
from weft.core.units import pretty_seconds

ROUNDS = 12


@dataclass(frozen=True, slots=True)
class Round:
    """`tighten` is all that this plan keeps beyond its objective, `why` the causes that the last of it answers."""

    number: int
    tighten: tuple[str, ...]
    why: tuple[str, ...]
    usd_per_hour: float
    pools: dict[str, int]
    attainment: float
    cut: bool
    timings: tuple[Timing, ...]


@dataclass(frozen=True)
class Validated:
    """`deployment` is the last plan, with its validation, `request` what it answers; `obstacles` say what is in the way
    where it does not hold."""

    request: CompileRequest
    deployment: Deployment
    rounds: tuple[Round, ...]
    holds: bool
    obstacles: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Watch:
    """What is heard while it takes time: a new round, and how far its simulation is."""

    on_round: Callable[[int], None] | None = None
    on_progress: Callable[[int, float], None] | None = None


_SILENT = Watch()


def validate(
    request: CompileRequest, trial: Trial, demand: Demand, rounds: int = ROUNDS, watch: Watch = _SILENT
) -> Validated:
    """NoPlacementError where not even the first plan exists."""
    quick = request.uncompared()
    deployment, tighten, why = compile_agent(quick), request.rules.tighten, ()
    done: list[Round] = []
    while True:
        if watch.on_round:
            watch.on_round(len(done) + 1)
        measured = trial.run(deployment, watch.on_progress)
        done.append(_round(len(done) + 1, measured, tighten, why))
        if measured.holds:
            return _validated(request, tighten, measured, demand, done, ())
        alone = trial.alone(deployment)
        found = causes(measured, alone)
        step = (
            _next(quick, tighten, found, deployment) if len(done) < rounds else _Next(None, (), (), (_spent(rounds),))
        )
        if step.deployment is None:
            obstacles = (*step.obstacles, *_told(found), *_burst(measured, found))
            return _validated(request, tighten, measured, demand, done, obstacles)
        deployment, tighten, why = step.deployment, step.tighten, step.why


def _round(number: int, measured: Measured, tighten: tuple[str, ...], why: tuple[str, ...]) -> Round:
    deployment = measured.deployment
    return Round(
        number=number,
        tighten=tighten,
        why=why,
        usd_per_hour=deployment.answer.usd_per_hour,
        pools={pool.name: pool.replicas for pool in deployment.pools},
        attainment=measured.attainment,
        cut=measured.cut,
        timings=measured.timings(),
    )


@dataclass(frozen=True, slots=True)
class _Next:
    """The next plan, or (None) what refuses each way to one."""

    deployment: Deployment | None
    tighten: tuple[str, ...]
    why: tuple[str, ...]
    obstacles: tuple[str, ...]


def _next(request: CompileRequest, tighten: tuple[str, ...], found: Sequence[Cause], now: Deployment) -> _Next:
    """All causes answered at once; where that has no plan, one at a time, the worst first."""
    obstacles: list[str] = []
    for answered in [found, *([each] for each in found)] if len(found) > 1 else [found]:
        changes = merged(tighten, [change for cause in answered for change in cause.tighten])
        try:
            deployment = compile_agent(request.tightened(changes))
        except NoPlacementError as refused:
            if len(answered) == 1:
                obstacles.append(f"no fleet: {refused.subject}: {refused.problem}; {refused.way_out}")
            continue
        if deployment.pools != now.pools:
            return _Next(deployment, changes, tuple(cause.why for cause in answered), ())
        obstacles.append(f"{', '.join(change for cause in answered for change in cause.tighten)} changes nothing")
    return _Next(None, (), (), tuple(dict.fromkeys(obstacles)))


def merged(before: Sequence[str], changes: Sequence[str]) -> tuple[str, ...]:
    """The last change of each limit wins."""
    latest = dict(change.split("=") for change in (*before, *changes))
    return tuple(f"{name}={value}" for name, value in latest.items())


def _validated(
    request: CompileRequest,
    tighten: tuple[str, ...],
    measured: Measured,
    demand: Demand,
    rounds: Sequence[Round],
    obstacles: tuple[str, ...],
) -> Validated:
    """The plan with its comparisons, if they are wanted, and with what became of it under the load."""
    plan, answered = measured.deployment, request.tightened(tighten)
    if request.aim.compare:
        compared = compile_agent(answered)
        plan = replace(plan, alternatives=compared.alternatives, other_models=compared.other_models)
    plan = replace(plan, validation=validation_of(measured, demand, tighten))
    return Validated(answered, plan, tuple(rounds), measured.holds, obstacles)


def validation_of(measured: Measured, demand: Demand, tighten: tuple[str, ...]) -> Validation:
    return Validation(
        load=demand.source,
        sha256=demand.sha256,
        seed=measured.trial.load.seed,
        router=str(measured.trial.config.router),
        runs=measured.summary.completed,
        target=measured.trial.target,
        attainment=measured.attainment,
        holds=measured.holds,
        p95_s={f"{each.subject} {each.kind}": each.p95_s for each in measured.timings()},
        tightened=tighten,
    )


def _spent(rounds: int) -> str:
    return f"{rounds} rounds were not enough: --rounds allows more"


def _told(found: Sequence[Cause]) -> list[str]:
    return [cause.why for cause in found]


def _burst(measured: Measured, found: Sequence[Cause]) -> list[str]:
    """Told where something was in the way."""
    if not any(cause.kind is not Kind.SLOW for cause in found):
        return []
    burst = worst_burst(measured)
    came = f"{burst.per_s:.3g} runs/s came for {pretty_seconds(burst.lasts_s)} ({burst.mean_per_s:.3g}/s on average)"
    return [f"the load's worst burst: {came}; then {burst.in_system:,} were under way"]
