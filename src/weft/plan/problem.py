"""A placement problem and its answer as plain numbers. The solver sees neither IR nor models nor devices.

An agent run visits each task `visits` times in expectation. Blocks are the straight stretches of the agent: inside
one, tasks wait only for the hand-offs that lie in it, so its time is its longest path. The expected end-to-end time is

    Σ_blocks visits · longest path  +  Σ_hand-offs between blocks visits · latency

Where traffic may be split, a task's time is the mean over its options, weighted by their shares.
"""

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property
from graphlib import TopologicalSorter

from weft.plan.promises import Course, Promise

E2E = "e2e_s"
"""The promise of the problem's own end-to-end limit."""


class Objective(StrEnum):
    USD_PER_HOUR = "usd_per_hour"
    """Whole replicas, as bought or rented."""

    USD_PER_REQUEST = "usd_per_request"
    """Occupied time only, as if replicas could be had in fractions: the paper's form. Least dollars a request is most
    tokens a dollar, because a request makes the same tokens everywhere."""

    JOULES_PER_REQUEST = "joules_per_request"
    """Energy of the devices while they work for the request."""

    E2E_S = "e2e_s"
    """Expected end-to-end time of a run, at any price."""

    USD_TO_BUY = "usd_to_buy"
    """Purchase price of the devices beyond the inventory."""


@dataclass(frozen=True, slots=True)
class PoolSpec:
    """What a replica is. Options that name an equal pool share its replicas.

    `device_class` is the key of the inventory (device and zone). `family` is the accelerator that a homogeneous
    comparison varies; None for pools that every fleet may use (CPU work). `network_bytes_per_s` is what a replica's
    adapters can send, and as much again receive.
    """

    name: str
    device_class: str
    devices_per_replica: int
    usd_per_hour: float
    family: str | None = None
    network_bytes_per_s: float = math.inf

    def __hash__(self) -> int:
        """Pools are looked up for every option, and a string remembers its hash."""
        return hash(self.name)


@dataclass(frozen=True, slots=True)
class Option:
    """One way to run a task. A visit takes `latency_s` and occupies one replica for `busy_s` (less when batched).

    `port` is all that hand-offs know of an option: their latency and price depend on the two ports only. `tie` names
    what must be chosen at both ends of a tied hand-off: one replica that serves both. `sent_bytes` and `received_bytes`
    are what its replicas move in all hand-offs of one run. `tail_s` is what a visit adds, beyond its mean, to promises
    that are made to a share of runs. Of the latency `wait_s` passes before anything is made.
    """

    name: str
    pool: PoolSpec
    latency_s: float
    busy_s: float
    usd_per_visit: float = 0.0
    port: str = ""
    joules_per_visit: float = 0.0
    tie: str = ""
    sent_bytes: float = 0.0
    received_bytes: float = 0.0
    tail_s: float = 0.0
    wait_s: float = 0.0

    def chunk_s(self, chunks: float) -> float:
        """One of so many equal chunks of its work."""
        return (self.latency_s - self.wait_s) / chunks


@dataclass(frozen=True, slots=True)
class Task:
    """Pools do its work up to `max_utilisation`; None: the problem's."""

    name: str
    visits: float
    options: tuple[Option, ...]
    max_utilisation: float | None = None


PerPortPair = Mapping[tuple[str, str], float]


@dataclass(frozen=True, slots=True)
class Handoff:
    """`target` waits for `source`, and something moves between them. Maps go from (source port, target port) to seconds
    or dollars a visit; a pair that is missing costs nothing, an infinite latency forbids the pair.

    `block` names the block whose longest path it lies on; None: it joins two blocks (or a block to itself, in a loop).
    Over a `tied` hand-off nothing moves between options of one `tie`, and a tied option joins no other. `link` names
    the shared line that `bytes_per_visit` take between two ports; pairs without one share nothing. Inside a block a
    hand-off in several `chunks` streams: the target starts on the first of them, and works on the last when that comes.
    """

    source: str
    target: str
    visits: float
    block: str | None
    latency_s: PerPortPair = field(default_factory=dict[tuple[str, str], float])
    usd_per_visit: PerPortPair = field(default_factory=dict[tuple[str, str], float])
    tied: bool = False
    link: Mapping[tuple[str, str], str] = field(default_factory=dict[tuple[str, str], str])
    bytes_per_visit: PerPortPair = field(default_factory=dict[tuple[str, str], float])
    chunks: float = 1.0

    @property
    def streams(self) -> bool:
        return self.chunks > 1.0 and self.block is not None

    def latency_of(self, source: Option, target: Option) -> float:
        if self.tied and (source.tie or target.tie):
            return 0.0 if source.tie == target.tie else math.inf
        return self.latency_s.get((source.port, target.port), 0.0)

    def usd_of(self, source: Option, target: Option) -> float:
        if self.tied and source.tie:
            return 0.0
        return self.usd_per_visit.get((source.port, target.port), 0.0)

    def bytes_of(self, source: Option, target: Option) -> Mapping[str, float]:
        """What a visit puts on each shared line."""
        pair = source.port, target.port
        if pair not in self.link or (self.tied and source.tie):
            return {}
        return {self.link[pair]: self.bytes_per_visit.get(pair, 0.0)}


@dataclass(frozen=True, slots=True)
class Way:
    """A path through a block in which tasks stand for several steps: how often it waits for each task, how much of its
    work lies on it (in visits), and how often each hand-off, by (source, target)."""

    waits: Mapping[str, float]
    work: Mapping[str, float]
    moves: Mapping[tuple[str, str], float]


@dataclass(frozen=True, slots=True)
class Block:
    """With `ways`, its time is that of the longest of them, instead of its tasks' longest path."""

    name: str
    visits: float
    tasks: tuple[str, ...]
    ways: tuple[Way, ...] = ()


@dataclass(frozen=True)
class PlacementProblem:
    """Without a `penalty_usd_per_s` the end-to-end limit is hard; with one, a request pays for each second it is late.
    `promises` are further limits: of some runs among several agents', or of a share of runs.

    A device class that is missing from `inventory` is unlimited. One in `market` can be bought beyond its inventory at
    that price, all purchases together for at most `budget_usd`. `split`: a task's traffic may go to several options.
    Pools are used to `max_utilisation` at most, lines of `link_bytes_per_s` and adapters of pools to
    `max_link_utilisation`; None: to the same.
    """

    tasks: tuple[Task, ...]
    handoffs: tuple[Handoff, ...]
    blocks: tuple[Block, ...]
    rate_per_s: float
    inventory: Mapping[str, int] = field(default_factory=dict[str, int])
    max_utilisation: float = 0.8
    e2e_limit_s: float | None = None
    penalty_usd_per_s: float | None = None
    objective: Objective = Objective.USD_PER_HOUR
    split: bool = False
    energy_limit_j: float | None = None
    market: Mapping[str, float] = field(default_factory=dict[str, float])
    budget_usd: float | None = None
    link_bytes_per_s: Mapping[str, float] = field(default_factory=dict[str, float])
    promises: tuple[Promise, ...] = ()
    max_link_utilisation: float | None = None

    @cached_property
    def all_promises(self) -> tuple[Promise, ...]:
        """The end-to-end limit is the first of them."""
        if self.e2e_limit_s is None:
            return self.promises
        visits = {block.name: block.visits for block in self.blocks}
        moves = {(each.source, each.target): each.visits for each in self.between}
        mean = (Course(1.0, visits, moves),)
        return Promise(E2E, self.e2e_limit_s, mean, penalty_usd_per_s=self.penalty_usd_per_s), *self.promises

    def task(self, name: str) -> Task:
        """Raises KeyError where there is none."""
        return self.tasks[self._places[name]]

    def order(self, block: Block) -> tuple[str, ...]:
        """The block's tasks, each after those it waits for."""
        waits_for: dict[str, set[str]] = {task: set() for task in block.tasks}
        for handoff in self.inside(block):
            waits_for[handoff.target].add(handoff.source)
        return tuple(TopologicalSorter(waits_for).static_order())

    def inside(self, block: Block) -> tuple[Handoff, ...]:
        return tuple(self.handoffs[at] for at in self.places_inside(block))

    def places_inside(self, block: Block) -> Sequence[int]:
        """Where its hand-offs stand among all."""
        return self._inside.get(block.name, ())

    @cached_property
    def _inside(self) -> Mapping[str, Sequence[int]]:
        found: defaultdict[str, list[int]] = defaultdict(list)
        for at, handoff in enumerate(self.handoffs):
            if handoff.block is not None:
                found[handoff.block].append(at)
        return found

    @property
    def between(self) -> tuple[Handoff, ...]:
        """Hand-offs that join blocks."""
        return tuple(handoff for handoff in self.handoffs if handoff.block is None)

    def utilisation_of(self, task: Task) -> float:
        """How busy the task may keep its pools."""
        return self.max_utilisation if task.max_utilisation is None else task.max_utilisation

    @property
    def link_utilisation(self) -> float:
        return self.max_utilisation if self.max_link_utilisation is None else self.max_link_utilisation

    def load(self, task: Task, option: Option) -> float:
        """Replicas that the task keeps busy under this option, at the allowed utilisation."""
        return self.rate_per_s * task.visits * option.busy_s / self.utilisation_of(task)

    def loads(self, task: Task, option: Option) -> tuple[float, float, float]:
        """Replicas for its work, for what they send and for what they receive: a pool needs the most of the three."""
        runs_per_byte = self.rate_per_s / self.link_utilisation / option.pool.network_bytes_per_s
        return self.load(task, option), option.sent_bytes * runs_per_byte, option.received_bytes * runs_per_byte

    @cached_property
    def _places(self) -> Mapping[str, int]:
        return {task.name: at for at, task in enumerate(self.tasks)}

    @cached_property
    def in_parts(self) -> bool:
        """Whether waits and work of a task count apart: where hand-offs stream, and on ways."""
        return any(handoff.streams for handoff in self.handoffs) or any(block.ways for block in self.blocks)

    @property
    def hard_limit(self) -> bool:
        return self.e2e_limit_s is not None and self.penalty_usd_per_s is None


@dataclass(frozen=True, slots=True)
class Placement:
    """`choice`: task → option name, the one with most traffic; `replicas`: pool name → count; `shares`: task → option
    name → share of the task's traffic; `bought`: device class → devices beyond the inventory; `link_use`: shared line →
    bytes a second.

    `promised_s`: promise → the time that it bounds; `slack_s` is how far the worst of them is missed.
    `usd_per_hour` prices whole replicas plus what moves; `usd_per_request` prices what one request occupies (at the
    allowed utilisation) plus what it moves. `objective` is the one that was minimised, with the penalties for lateness.
    """

    choice: Mapping[str, str]
    replicas: Mapping[str, int]
    objective: float
    usd_per_hour: float
    usd_per_request: float
    e2e_s: float
    slack_s: float
    gap: float
    solve_s: float
    joules_per_request: float = 0.0
    usd_to_buy: float = 0.0
    shares: Mapping[str, Mapping[str, float]] = field(default_factory=dict[str, Mapping[str, float]])
    bought: Mapping[str, int] = field(default_factory=dict[str, int])
    link_use: Mapping[str, float] = field(default_factory=dict[str, float])
    promised_s: Mapping[str, float] = field(default_factory=dict[str, float])


ROUNDING = 1e-6
"""A load that exceeds a whole number by no more than this is that number: what the solver cannot tell apart either."""


def whole_replicas(load: float) -> int:
    """Replicas for a load; a chosen pool has at least one."""
    return max(1, math.ceil(load - ROUNDING))
