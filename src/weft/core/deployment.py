"""The narrow waist: all that the planner decided and assumed. Simulator and runtime read it, deriving nothing again."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

from weft.core.hardware import Link
from weft.core.pace import EngineTerms
from weft.core.program import Program
from weft.core.units import HOUR_S, Precision
from weft.core.workload import Slo, Workload

DEPLOYMENT_VERSION = 2


@dataclass(frozen=True, slots=True)
class Parallelism:
    tp: int = 1
    pp: int = 1
    dp: int = 1
    ep: int = 1

    @property
    def devices(self) -> int:
        """Devices of one replica. Expert parallelism reuses the tp × dp devices."""
        return self.tp * self.pp * self.dp

    def __str__(self) -> str:
        parts = [
            f"{name}={size}" for name, size in (("tp", self.tp), ("pp", self.pp), ("dp", self.dp), ("ep", self.ep))
        ]
        return " ".join(part for part in parts if not part.endswith("=1")) or "1 device"


@dataclass(frozen=True, slots=True)
class Pool:
    """Equal replicas of one engine (or CPU worker). Prices are per replica-hour. `engine` is None for CPU work.

    `busy_w` and `idle_w` are one replica's power at the meter; None where the device's power is not known. `share` is
    the part of the pool that the deployment's agent pays for, where several use it.
    """

    name: str
    device: str
    zone: str
    parallelism: Parallelism
    replicas: int
    batch_limit: int
    usd_per_hour: float
    utilisation: float
    model: str | None = None
    precision: Precision | None = None
    engine: EngineTerms | None = None
    busy_w: float | None = None
    idle_w: float | None = None
    share: float = 1.0


@dataclass(frozen=True, slots=True)
class Route:
    """A step's pool and what the planner assumed of it there.

    `latency_s` is one visit at the pool's batch, in truth between `low_s` and `high_s` (four times in five); it waits
    `wait_s` for a free place before. `usd_per_run` prices the time that a run occupies the pool. `s_per_input_token`
    and `s_per_output_token` pace an emulated engine (0 where they do not apply). `usd_per_million_tokens` is what the
    pool is occupied for by a million prompt tokens of a prefill, or output tokens of a decode; None for other steps.
    """

    step: str
    pool: str
    visits: float
    latency_s: float
    usd_per_run: float
    s_per_input_token: float
    s_per_output_token: float
    provenance: str
    why: str
    wait_s: float = 0.0
    low_s: float = 0.0
    high_s: float = 0.0
    usd_per_million_tokens: float | None = None


@dataclass(frozen=True, slots=True)
class Share:
    """One pool of a step whose traffic is split: the part of its visits that goes there. The step's Route names the
    pool with most of it, and means over all of them."""

    step: str
    pool: str
    share: float


@dataclass(frozen=True, slots=True)
class Handoff:
    """A cache that moves between two steps in different pools. Traffic that is split takes several pairs of pools, each
    with its `share`; `visits` counts the moves of a run over this pair."""

    source: str
    target: str
    source_pool: str
    target_pool: str
    share: float
    link: str
    visits: float
    bytes_per_visit: float
    latency_s: float
    usd_per_run: float


@dataclass(frozen=True, slots=True)
class Stage:
    """A part of a path: a block, or a `loop` of blocks, each visited so often by a run that comes here."""

    blocks: tuple[str, ...]
    visits: tuple[float, ...]
    time_s: float
    loop: bool


@dataclass(frozen=True, slots=True)
class PathTime:
    """A way that a run may take, how likely, and its expected time. Without stages: all ways that are not listed."""

    stages: tuple[Stage, ...]
    probability: float
    time_s: float


@dataclass(frozen=True, slots=True)
class Alternative:
    """The best fleet that uses one accelerator class only: its price, or why there is none."""

    device: str
    usd_per_hour: float | None
    e2e_s: float | None
    reason: str


@dataclass(frozen=True, slots=True)
class OtherModel:
    """A model that a call could run and does not: what the whole fleet costs with it, or why there is no plan."""

    call: str
    taken: str
    model: str
    usd_per_hour: float | None
    e2e_s: float | None
    reason: str


@dataclass(frozen=True, slots=True)
class Answer:
    """What the solver proved. `gap` is relative to the best bound; `slack_s` is how far a soft SLO is missed.

    `usd_per_hour` is the price of all replicas; `busy_usd_per_run` that of the time a run occupies them, and what it
    moves. Their difference is spare capacity. `e2e_p95_s`, where the objective asks for it, is what 95 % of the runs
    take at most.
    """

    objective: str
    usd_per_hour: float
    busy_usd_per_run: float
    e2e_s: float
    gap: float
    slack_s: float
    solve_s: float
    e2e_p95_s: float | None = None


@dataclass(frozen=True, slots=True)
class AgentBill:
    """One of the agents that share a fleet: its load, what it pays, what the best fleet of its own would cost, and the
    expected time of its runs."""

    agent: str
    rate_per_s: float
    usd_per_hour: float
    alone_usd_per_hour: float
    e2e_s: float


@dataclass(frozen=True, slots=True)
class Validation:
    """What a simulation of the plan came to. `load` says what it was made from, `sha256` is its file's. Of the runs a
    share of `attainment` ended within the objective (`target` was wanted); 95 % of each time that the objective bounds
    were at most `p95_s`. `tightened`: limits that the plan keeps beyond its objective, as `weft plan --tighten` reads
    them.
    """

    load: str
    sha256: str | None
    seed: int
    router: str
    runs: int
    target: float
    attainment: float
    holds: bool
    p95_s: Mapping[str, float]
    tightened: tuple[str, ...] = ()


@dataclass(frozen=True)
class Deployment:
    """A plan that can be run: the placed program, its pools and routes, and the assumptions behind them.

    `bills`: all agents of a shared fleet, this one among them; empty where it is alone. What they pay adds up to the
    fleet's price; `answer.usd_per_hour` is this agent's.
    `fingerprints` of the catalogue's models and devices that it uses: where they change, the plan is stale.
    `validation`: what a simulation of it came to; None: nobody has looked.
    `measured`: by core.pace.pace_key, how many times the cost model's time its phases were counted to take.
    """

    version: int
    agent: str
    source: str
    program: Program
    pools: tuple[Pool, ...]
    routes: tuple[Route, ...]
    handoffs: tuple[Handoff, ...]
    answer: Answer
    alternatives: tuple[Alternative, ...]
    fleet: str
    catalogue: str
    finance: str
    slo: Slo
    workload: Workload
    shares: tuple[Share, ...] = ()
    bills: tuple[AgentBill, ...] = ()
    links: tuple[Link, ...] = ()
    other_models: tuple[OtherModel, ...] = ()
    paths: tuple[PathTime, ...] = ()
    fingerprints: Mapping[str, str] = field(default_factory=dict[str, str])
    validation: Validation | None = None
    measured: Mapping[str, float] = field(default_factory=dict[str, float])

    @property
    def fleet_usd_per_hour(self) -> float:
        """Of the whole fleet, whoever pays for it."""
        return sum(bill.usd_per_hour for bill in self.bills) if self.bills else self.answer.usd_per_hour

    @property
    def usd_per_run(self) -> float:
        """The whole fleet's price over the runs that the workload asks of it, spare capacity included."""
        return self.answer.usd_per_hour / (HOUR_S * self.workload.rate_per_s)

    def route(self, step: str) -> Route:
        return self._routes[step]

    def pool(self, name: str) -> Pool:
        return self._pools[name]

    @cached_property
    def _routes(self) -> Mapping[str, Route]:
        return {route.step: route for route in self.routes}

    @cached_property
    def _pools(self) -> Mapping[str, Pool]:
        return {pool.name: pool for pool in self.pools}
