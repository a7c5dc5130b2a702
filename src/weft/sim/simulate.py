"""A Deployment and a load → what came of it. Equal arguments give equal results, to the last bit."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from weft.core.deployment import Deployment
from weft.core.errors import InputError
from weft.core.summary import Summary
from weft.plan.measured import as_measured
from weft.plan.staffing import scaling_of
from weft.policy.calibration import Known
from weft.policy.retention import Rule
from weft.policy.scaling import ScalingConfig
from weft.sim.admitting import Door
from weft.sim.controlling import Controller, Moment
from weft.sim.faults import Trouble, schedule
from weft.sim.fleet import Fleet, build_fleet
from weft.sim.kernel import Kernel, seconds, ticks
from weft.sim.metering import Meter, all_of
from weft.sim.monitor import Monitor
from weft.sim.pairing import PairKind, pairings
from weft.sim.quiet import few_collections
from weft.sim.recorder import OnRecord, Recorder, bounds_of
from weft.sim.replica import Replica
from weft.sim.retaining import Retaining
from weft.sim.routing import PoolRouter, RouterKind
from weft.sim.scripts import Script, script_of
from weft.sim.summarise import Ended, summarise
from weft.sim.tiers import TierTerms
from weft.sim.timeline import BusyBins, Samples
from weft.sim.urgency import PriorityKind, urgency_of
from weft.sim.walk import Chance, Sink, Walk
from weft.sim.window import Window
from weft.traces.request import Request


@dataclass(frozen=True, slots=True)
class SimConfig:
    """`pairs` is when the replica that decodes is chosen. `retention`, with a `tier` or without, is what becomes of the
    caches of agents that wait; None: nothing is held. `priority` orders prompts; None: by slack where the objective
    bounds whole runs. `admission`: runs that would miss a bound are refused at their first model call. `cv` is the
    spread of CPU steps (0: fixed, None: exponential). `exact` makes every decode step an event. `most_late`: ends the
    simulation soon after more runs than that have ended late (None: it goes on). `window_s` records all that happens
    from a second to a second. `source` says what the load is made from. `control`: replicas come and go by
    `policy.scaling` (None: they stay). `paces`: how many times the cost model's time phases really take, by
    core.pace.pace_key, where that is not what the plan counts on."""

    seed: int = 0
    router: RouterKind = RouterKind.WEFT
    pairs: PairKind = PairKind.LATE
    retention: Rule | None = None
    tier: TierTerms | None = None
    priority: PriorityKind | None = None
    admission: bool = False
    cv: float | None = 0.0
    exact: bool = False
    stop_overload: bool = True
    troubles: tuple[Trouble, ...] = ()
    window_s: tuple[float, float] | None = None
    source: str = "generated"
    most_late: int | None = None
    control: ScalingConfig | None = None
    paces: Mapping[str, float] = field(default_factory=dict[str, float])


@dataclass(frozen=True, slots=True)
class Outcome:
    """The summary, and what its figures are drawn from: the share of each time bin (`bin_s` wide) that each replica was
    busy, and samples of queues. `events` counts what the kernel did. `paces`: what control learned of devices."""

    summary: Summary
    recorder: Recorder
    samples: Samples
    pools: tuple[str, ...]
    busy: Mapping[str, list[float]]
    bin_s: float
    window: Window | None
    events: int
    control: tuple[Moment, ...] = ()
    paces: Mapping[str, Known] = field(default_factory=dict[str, Known])


_DEFAULT = SimConfig()


def simulate(
    deployment: Deployment,
    requests: Iterable[Request],
    config: SimConfig = _DEFAULT,
    on_record: OnRecord | None = None,
    on_progress: Callable[[int, float], None] | None = None,
) -> Outcome:
    """`requests` are read as they are needed, in order of arrival; `on_progress` hears runs ended, virtual seconds."""
    simulation = _Simulation(deployment, config, on_record)
    with few_collections():
        simulation.run(iter(requests), on_progress)
    return simulation.outcome()


@dataclass
class _Simulation:
    deployment: Deployment
    config: SimConfig
    on_record: OnRecord | None
    kernel: Kernel = field(default_factory=Kernel)
    busy: dict[Replica, BusyBins] = field(default_factory=dict[Replica, BusyBins])

    def __post_init__(self) -> None:
        config, deployment = self.config, self.deployment
        really = as_measured(deployment, {**deployment.measured, **config.paces})
        self.fleet: Fleet = build_fleet(really, self.kernel, self._on_busy, config.exact)
        self.script: Script = script_of(deployment)
        devices = {pool.name: pool.device for pool in deployment.pools}
        self.recorder = Recorder(deployment.agent, bounds_of(deployment.slo), self.on_record, devices)
        routers = {name: PoolRouter(config.router, pool) for name, pool in self.fleet.llm.items()}
        sink: Sink = self.recorder
        self.window: Window | None = None
        if config.window_s is not None:
            self.window = sink = Window(self.recorder, *map(ticks, config.window_s))
        chance = Chance(config.seed, config.cv)
        heard = [] if self.window is None else [self.window.iterations]
        meter = Meter(deployment) if config.control is not None else None
        heard += [] if meter is None else [meter.iterations]
        together = pairings(self.kernel, self.fleet, self.script, config.pairs)
        self.retaining = Retaining(self.kernel, config.retention, config.tier) if config.retention else None
        urgency = urgency_of(deployment, config.priority)
        door = Door(deployment, self.kernel) if config.admission else None
        self.walk = Walk(
            self.kernel,
            self.fleet,
            self.script,
            routers,
            sink,
            chance,
            all_of(heard),
            together,
            self.retaining,
            urgency,
            door,
        )
        self.samples = Samples()
        self.monitor = Monitor(self.kernel, self.fleet, self.walk, self.recorder, self.samples, config.stop_overload)
        self.monitor.most_late = config.most_late
        schedule(config.troubles, self.kernel, self.fleet, self.walk)
        self.controller: Controller | None = None
        if (terms := config.control) is not None and meter is not None:
            scaling = scaling_of(deployment, terms)
            self.controller = Controller(deployment, self.kernel, self.fleet, self.walk, scaling, meter, terms.start_s)

    def run(self, requests: Iterator[Request], on_progress: Callable[[int, float], None] | None) -> None:
        first = next(requests, None)
        if first is None:
            raise InputError(subject="trace", problem="has no requests", way_out="give at least one")
        kernel, walk = self.kernel, self.walk
        at, self.since = kernel.at, ticks(first.at_s)

        def arrive(request: Request) -> None:
            following = next(requests, None)
            if following is None:
                walk.expecting = False
            else:
                at(_in_order(following, kernel.now), 0, arrive, following)
            walk.arrive(request)

        def progress(_: None) -> None:
            assert on_progress is not None
            on_progress(walk.ended, seconds(kernel.now))
            if walk.expecting or walk.in_system:
                at(kernel.now + self.samples.interval, 0, progress)

        at(ticks(first.at_s), 0, arrive, first)
        at(ticks(first.at_s), 0, self.monitor.look)
        if self.controller is not None:
            at(ticks(first.at_s), 0, self.controller.look)
        if on_progress is not None:
            at(ticks(first.at_s), 0, progress)
        kernel.run()

    def outcome(self) -> Outcome:
        now = self.recorder.ended_at if not self.kernel.stopped else self.kernel.now
        for replica in self.fleet.replicas:
            if replica.busy_since >= 0:
                self._on_busy(replica, replica.busy_since, now)
        bins = {replica.name: self._bins(replica) for replica in self.fleet.replicas}
        width = max((each.width for each in bins.values()), default=ticks(1.0))
        ended = Ended(
            deployment=self.deployment,
            fleet=self.fleet,
            recorder=self.recorder,
            samples=self.samples.kept,
            busy_s={name: seconds(each.total) for name, each in bins.items()},
            arrived=self.walk.started,
            completed=self.walk.ended - self.walk.refused,
            refused=self.walk.refused,
            since=self.since,
            until=now,
            overload=self.monitor.overload,
            retention=self.retaining.summary() if self.retaining else None,
            paid_s=self.controller.replica_s if self.controller else None,
        )
        return Outcome(
            summary=summarise(ended, self.config.source, self.config.seed),
            recorder=self.recorder,
            samples=self.samples,
            pools=(*self.fleet.llm, *self.fleet.cpu),
            busy={name: each.shares(now, width) for name, each in bins.items()},
            bin_s=seconds(width),
            window=self.window,
            events=self.kernel.events,
            control=tuple(self.controller.moments) if self.controller else (),
            paces=self.controller.calibration.known if self.controller else {},
        )

    def _on_busy(self, replica: Replica, begins: int, ends: int) -> None:
        self._bins(replica).add(begins, ends)

    def _bins(self, replica: Replica) -> BusyBins:
        bins = self.busy.get(replica)
        if bins is None:
            bins = self.busy[replica] = BusyBins()
        return bins


def _in_order(request: Request, now: int) -> int:
    at = ticks(request.at_s)
    if at < now:
        raise InputError(
            subject=f"request at line {request.line}" if request.line else "request",
            problem=f"comes at {request.at_s:g} s, after one at {seconds(now):g} s",
            way_out="sort the requests by time",
        )
    return at
