"""The cheapest fleet on which enough runs of a load end within the objective, by simulation.

What runs where (device, parallelism, batch) the planner proposes: each plan that validation comes by, for each kind of
serving and for several utilisations, is a design. For each design the counts of replicas are searched
(`replica_search`); a design that costs more than the best so far, however few replicas it has, takes one simulation.
"""

from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace

from weft.compiler.pipeline import compile_agent, plan_request_of
from weft.compiler.request import CompileRequest
from weft.control.causes import causes
from weft.control.demand import Demand
from weft.control.journal import Journal, Point, key_of
from weft.control.replica_search import Counts, Market, Search, one_less
from weft.control.trial import Measured, OnProgress, Timing, Trial
from weft.control.validate import merged, validation_of
from weft.core.deployment import Deployment, Pool
from weft.core.errors import AttainmentError, CapacityError, InputError, NoPlacementError
from weft.plan.options import device_class
from weft.plan.requests import Serving

UTILISATIONS = ("0.95", "0.8", "0.5")
ROUNDS = 6
"""Of tightening, for each kind of serving."""

ALONE_SLACK = 0.05
"""A design that misses the target by more than this without any other load is none: three standard deviations of what
200 runs tell."""


@dataclass(frozen=True, slots=True)
class Fewer:
    """The fleet without one replica of `pool`: what it saves and what it would miss."""

    pool: str
    saves_usd_per_hour: float
    attainment: float
    worst: Timing | None


@dataclass(frozen=True)
class Sized:
    """`deployment` is the fleet, with its validation; `planned_usd_per_hour` what the first plan would cost. `proven`:
    no cheaper counts of these designs are enough, if more replicas never hurt."""

    deployment: Deployment
    designs: tuple[str, ...]
    design: int
    points: tuple[Point, ...]
    fewer: tuple[Fewer, ...]
    planned_usd_per_hour: float
    proven: bool


@dataclass(frozen=True, slots=True)
class Watch:
    """What is heard while it takes time: a sentence, and how far a simulation is."""

    on_step: Callable[[str], None] | None = None
    on_progress: OnProgress | None = None

    def say(self, sentence: str) -> None:
        if self.on_step:
            self.on_step(sentence)


@dataclass
class Sizing:
    """One search. `most` vectors of replicas are simulated for the proof of each design."""

    request: CompileRequest
    trial: Trial
    demand: Demand
    journal: Journal
    watch: Watch = field(default_factory=Watch)
    most: int = 200
    points: list[Point] = field(default_factory=list[Point])
    designs: dict[str, Deployment] = field(default_factory=dict[str, Deployment])
    proven: bool = True
    best: tuple[int, Counts, float] | None = None

    def run(self) -> Sized:
        _refuse_timeless(self.request)
        first_usd = self._propose()
        for number, plan in enumerate(sorted(self.designs.values(), key=lambda each: each.answer.usd_per_hour)):
            self.watch.say(f"design {number + 1} of {len(self.designs)}: {design_of(plan)}")
            with suppress(CapacityError):  # a call that comes late fits no replica of it
                self._search(number, plan)
        if self.best is None:
            raise self._nothing()
        return self._sized(first_usd)

    def _propose(self) -> float:
        """Fills `designs`; the price of the first plan."""
        kinds = list(Serving) if self.request.rules.serving == Serving.ANY else [Serving(self.request.rules.serving)]
        first_usd: float | None = None
        refused: NoPlacementError | None = None
        for kind in kinds:
            for utilisation in UTILISATIONS:
                rules = self.request.rules
                tighten = merged([f"utilisation={utilisation}"], rules.tighten)
                rules = replace(rules, serving=str(kind), tighten=tighten)
                request = replace(self.request, rules=rules).uncompared()
                try:
                    found_usd = self._tightened(request, f"{kind}, at most {utilisation} busy")
                    first_usd = found_usd if first_usd is None else first_usd
                except NoPlacementError as error:
                    refused = refused or error
        if first_usd is None:
            assert refused is not None
            raise refused
        return first_usd

    def _tightened(self, request: CompileRequest, said: str) -> float:
        """A design, and those that answer what it misses; the price of the first."""
        plan = compile_agent(request)
        first_usd = plan.answer.usd_per_hour
        for number in range(ROUNDS):
            if design_of(plan) in self.designs:
                break
            self.designs[design_of(plan)] = plan
            self.watch.say(f"proposals ({said}), plan {number + 1}: {design_of(plan)}")
            try:
                measured = self.trial.run(plan, self.watch.on_progress)
            except CapacityError:  # some call fits no replica of it
                del self.designs[design_of(plan)]
                break
            if measured.holds:
                break
            found = causes(measured, self.trial.alone(plan))
            changes = merged(request.rules.tighten, [change for cause in found for change in cause.tighten])
            request = request.tightened(changes)
            try:
                plan = compile_agent(request)
            except NoPlacementError:
                break
        return first_usd

    def _search(self, number: int, plan: Deployment) -> None:
        alone = self.trial.alone(plan)
        in_time = alone.recorder.good / max(1, alone.summary.completed)
        if in_time < self.trial.target - ALONE_SLACK:
            return
        below_usd = self.best[2] if self.best else float("inf")
        start = tuple(pool.replicas for pool in plan.pools)
        market = Market([pool.usd_per_hour for pool in plan.pools], self._fits(plan))
        search = Search(lambda counts: self._enough(number, plan, counts), market, self.most)
        found = search.cheapest(start, below_usd)
        if found is not None:
            self.best = (number, found, market.cost(found))
        self.proven = self.proven and search.proven

    def _enough(self, number: int, plan: Deployment, counts: Counts) -> bool:
        fleet = with_replicas(plan, counts)
        key = key_of(fleet, self.trial, self.demand.sha256)
        point = self.journal.known(key, number)
        if point is None:
            point = point_of(number, self.trial.run(fleet, self.watch.on_progress))
            self.journal.note(key, point)
        self.points.append(point)
        said = f"{point.usd_per_hour:.2f} $/h: {'under ' if point.cut else ''}{point.attainment:.1%} in time"
        self.watch.say(f"design {number + 1} of {len(self.designs)}, {' + '.join(map(str, counts))} replicas, {said}")
        return point.holds

    def _fits(self, plan: Deployment) -> Callable[[Counts], bool]:
        stock = {device_class(group): group.count for group in plan_request_of(self.request).fleet.groups}

        def fits(counts: Counts) -> bool:
            used: dict[str, int] = {}
            for pool, count in zip(plan.pools, counts, strict=True):
                name = f"{pool.device}@{pool.zone}"
                used[name] = used.get(name, 0) + count * pool.parallelism.devices
            return all(count <= stock[name] for name, count in used.items())

        return fits

    def _sized(self, first_usd: float) -> Sized:
        """Taking one replica away is tried at the end, to the end: where that holds against all expectation, it is
        done."""
        assert self.best is not None
        plans = sorted(self.designs.values(), key=lambda each: each.answer.usd_per_hour)
        number, counts, _ = self.best
        while True:
            fleet = with_replicas(plans[number], counts)
            self.watch.say("the fleet that was found, and with one replica less")
            measured = self.trial.run(fleet, self.watch.on_progress, to_the_end=True)
            tried = {fewer: self._measured(plans[number], fewer) for fewer in one_less(counts)}
            holding = [fewer for fewer, seen in tried.items() if seen.holds]
            if not holding:
                break
            counts = holding[0]
        deployment = replace(fleet, validation=validation_of(measured, self.demand, self.request.rules.tighten))
        self.points.append(point_of(number, measured))
        self.points += [point_of(number, seen) for seen in tried.values()]
        fewer = tuple(_fewer(fleet, seen) for seen in tried.values())
        names = tuple(map(design_of, plans))
        return Sized(deployment, names, number, unique(self.points), fewer, first_usd, self.proven)

    def _measured(self, plan: Deployment, counts: Counts) -> Measured:
        return self.trial.run(with_replicas(plan, counts), self.watch.on_progress, to_the_end=True)

    def _nothing(self) -> AttainmentError:
        best = max(self.points, key=lambda point: point.attainment, default=None)
        tried = f"{len(self.designs)} designs, {len(self.points)} fleets simulated"
        reached = f"; the best has under {best.attainment:.1%} in time" if best is not None else ""
        return AttainmentError(
            subject=f"attainment {self.trial.target:g}",
            problem=f"no fleet of {self.request.supply.fleet!r} was found ({tried}{reached})",
            way_out="ask `weft plan --validate` what stands in the way, add devices (--add), or loosen the objective",
        )


def with_replicas(plan: Deployment, counts: Counts) -> Deployment:
    """The same design with other counts; waits that the planner assumed stay those of its own counts."""
    pools = tuple(map(_resized, plan.pools, counts))
    more_usd = sum((new.replicas - old.replicas) * old.usd_per_hour for new, old in zip(pools, plan.pools, strict=True))
    return replace(plan, pools=pools, answer=replace(plan.answer, usd_per_hour=plan.answer.usd_per_hour + more_usd))


def _resized(pool: Pool, count: int) -> Pool:
    return replace(pool, replicas=count, utilisation=pool.utilisation * pool.replicas / count)


def design_of(plan: Deployment) -> str:
    """What runs where, without how many."""
    return ", ".join(_replica(pool) for pool in plan.pools)


def _replica(pool: Pool) -> str:
    size = f" tp{pool.parallelism.tp}" if pool.parallelism.tp > 1 else ""
    batch = f" batch {pool.batch_limit}" if pool.model else ""
    return f"{pool.name}{size}{batch}"


def point_of(design: int, measured: Measured) -> Point:
    plan = measured.deployment
    replicas = {pool.name: pool.replicas for pool in plan.pools}
    return Point(design, replicas, plan.answer.usd_per_hour, measured.attainment, measured.cut, measured.holds)


def unique(points: list[Point]) -> tuple[Point, ...]:
    """One for each fleet: the one that was simulated to the end, if any."""
    latest: dict[tuple[int, tuple[int, ...]], Point] = {}
    for point in points:
        key = point.design, tuple(point.replicas.values())
        if key not in latest or latest[key].cut:
            latest[key] = point
    return tuple(latest.values())


def _fewer(fleet: Deployment, seen: Measured) -> Fewer:
    gone = next(old for old, new in zip(fleet.pools, seen.deployment.pools, strict=True) if old != new)
    timings: Iterator[Timing] = iter(seen.timings())
    worst = max(timings, key=lambda each: each.tail_s / each.bound_s, default=None)
    return Fewer(gone.name, gone.usd_per_hour, seen.attainment, worst)


def _refuse_timeless(request: CompileRequest) -> None:
    slo = request.needs.slo_terms()
    if not any((slo.ttft_s, slo.tpot_s, slo.e2e_s, slo.e2e_p95_s)):
        raise InputError(
            subject=f"objective {slo.name!r}",
            problem="asks nothing of time, so any fleet is in time at last",
            way_out="give --slo with a TTFT, a TPOT or an end-to-end time",
        )
