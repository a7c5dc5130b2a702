"""A placement problem as arrays, one entry for each option, in the order of tasks and their options.

Everything that the bound and the search read; both count in the unit of the problem's objective.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from weft.core.units import HOUR_S
from weft.plan.evaluate import occupied_usd, penalty_weight
from weft.plan.problem import Block, Handoff, Objective, Option, PlacementProblem, PoolSpec

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Truths = NDArray[np.bool_]

UNLIMITED = -1
"""The device class of pools that no inventory limits."""

NO_TIE = -1

_UNKNOWN: Mapping[str, object] = {
    "split": False,
    "energy_limit_j": None,
    "market": {},
    "budget_usd": None,
    "promises": (),
}
"""Terms of a problem that this package does not weigh, where they are not in use."""


@dataclass(frozen=True, slots=True)
class Hop:
    """One hand-off. `usd` and `seconds`: (source ports, target ports), all its visits together; infinite seconds forbid
    the pair. `block` is the block on whose longest path it lies, by number, or -1."""

    source: int
    target: int
    block: int
    tied: bool
    usd: Floats
    seconds: Floats


@dataclass(frozen=True, slots=True)
class Web:
    """A block: its tasks in order. `is_chain`: all of them lie on its one path, so that its time is their sum."""

    visits: float
    tasks: tuple[int, ...]
    is_chain: bool


@dataclass(frozen=True)
class Tables:
    """`work`: replicas that an option keeps busy; `load`: what it needs of its pool for work and network at most;
    `cost`: what it costs besides replicas; `price`: a replica's cost; `first`: where each task's options begin, and
    their number last."""

    problem: PlacementProblem
    task: Ints
    first: Ints
    pool: Ints
    port: Ints
    tie: Ints
    work: Floats
    load: Floats
    cost: Floats
    latency_s: Floats
    pools: tuple[PoolSpec, ...]
    price: Floats
    devices: Floats
    device_class: Ints
    inventory: Floats
    hops: tuple[Hop, ...]
    webs: tuple[Web, ...]
    ports: int
    ties: int

    @property
    def tasks(self) -> int:
        return len(self.first) - 1

    @cached_property
    def visits(self) -> Floats:
        """Of each task's block."""
        found = np.zeros(self.tasks)
        for web in self.webs:
            found[list(web.tasks)] = web.visits
        return found

    @cached_property
    def held(self) -> Floats:
        """Replicas that an option needs at least: whole ones where its pool serves no other task."""
        servants = np.unique(np.stack([self.pool, self.task]), axis=1)[0]
        alone = np.bincount(servants, minlength=len(self.pools)) == 1
        whole = np.maximum(1.0, np.ceil(self.load - 1e-6))
        return np.where(alone[self.pool], whole, self.work)

    @cached_property
    def possible(self) -> Truths:
        """Options whose own replicas the inventory can hold."""
        needed = np.maximum(1.0, np.ceil(self.load - 1e-6)) * self.devices[self.pool]
        limits = np.append(self.inventory, np.inf)
        return needed <= limits[self.device_class[self.pool]]

    @property
    def late_usd_per_s(self) -> float:
        """What a second beyond the end-to-end limit costs; infinite where the limit is hard."""
        if self.problem.e2e_limit_s is None:
            return 0.0
        return math.inf if self.problem.hard_limit else penalty_weight(self.problem, self.problem.all_promises[0])

    @property
    def limit_s(self) -> float:
        return math.inf if self.problem.e2e_limit_s is None else self.problem.e2e_limit_s

    @property
    def second(self) -> float:
        """What a second of a run counts in the objective, limit or not."""
        return 1.0 if self.problem.objective is Objective.E2E_S else 0.0


def is_known(problem: PlacementProblem) -> bool:
    """Whether the tables hold every term of the problem. Two are held in part: a shared line may be found overloaded in
    the end, and network adapters make the search, not the bound, count more replicas."""
    known = all(getattr(problem, name) == unused for name, unused in _UNKNOWN.items())
    return known and not problem.in_parts and problem.objective is not Objective.USD_TO_BUY


def tables(problem: PlacementProblem) -> Tables:
    options = [option for task in problem.tasks for option in task.options]
    counts = np.array([len(task.options) for task in problem.tasks])
    pool, pools = _pools(options)
    ports, ties = _numbers(option.port for option in options), _numbers(option.tie for option in options if option.tie)
    classes, places = _numbers(problem.inventory), _numbers(task.name for task in problem.tasks)
    visits = np.repeat([task.visits for task in problem.tasks], counts)
    busy_s = np.array([option.busy_s for option in options], float)
    most = np.repeat([problem.utilisation_of(task) for task in problem.tasks], counts)
    work = problem.rate_per_s * visits * busy_s / most
    hourly = problem.objective is Objective.USD_PER_HOUR
    return Tables(
        problem=problem,
        task=np.repeat(np.arange(len(counts)), counts),
        first=np.concatenate([[0], np.cumsum(counts)]),
        pool=pool,
        port=np.array([ports[option.port] for option in options]),
        tie=np.array([ties.get(option.tie, NO_TIE) for option in options]),
        work=work,
        load=np.maximum(work, _network(problem, options)),
        cost=_costs(problem),
        latency_s=np.array([option.latency_s for option in options], float),
        pools=pools,
        price=np.array([each.usd_per_hour if hourly else 0.0 for each in pools]),
        devices=np.array([each.devices_per_replica for each in pools], float),
        device_class=np.array([classes.get(each.device_class, UNLIMITED) for each in pools]),
        inventory=np.array(list(problem.inventory.values()), float),
        hops=tuple(_hop(problem, handoff, ports, places) for handoff in problem.handoffs),
        webs=tuple(_web(problem, block, places) for block in problem.blocks),
        ports=len(ports),
        ties=len(ties),
    )


def _numbers(names: Iterable[str]) -> dict[str, int]:
    return {name: at for at, name in enumerate(dict.fromkeys(names))}


def _pools(options: Sequence[Option]) -> tuple[Ints, tuple[PoolSpec, ...]]:
    """Pool number of each option, and the pools. Equal pools are one; most are one object, which is found faster."""
    numbers: dict[PoolSpec, int] = {}
    by_object = {id(option.pool): option.pool for option in options}
    number_of = {key: numbers.setdefault(pool, len(numbers)) for key, pool in by_object.items()}
    return np.array([number_of[id(option.pool)] for option in options]), tuple(numbers)


def _network(problem: PlacementProblem, options: Sequence[Option]) -> Floats:
    """Replicas whose adapters carry what an option sends or receives."""
    moved_bytes = np.array([max(option.sent_bytes, option.received_bytes) for option in options], float)
    adapter = np.array([option.pool.network_bytes_per_s for option in options], float)
    return problem.rate_per_s * moved_bytes / adapter / problem.link_utilisation


def _costs(problem: PlacementProblem) -> Floats:
    pairs = ((task, option) for task in problem.tasks for option in task.options)
    match problem.objective:
        case Objective.USD_PER_HOUR:
            each = (_hourly(problem) * task.visits * option.usd_per_visit for task, option in pairs)
        case Objective.USD_PER_REQUEST:
            each = (occupied_usd(problem, task, option) + task.visits * option.usd_per_visit for task, option in pairs)
        case Objective.JOULES_PER_REQUEST:
            each = (task.visits * option.joules_per_visit for task, option in pairs)
        case _:
            each = (0.0 for _ in pairs)
    return np.fromiter(each, float)


def _hourly(problem: PlacementProblem) -> float:
    return HOUR_S * problem.rate_per_s


def _hop(problem: PlacementProblem, handoff: Handoff, ports: Mapping[str, int], places: Mapping[str, int]) -> Hop:
    requests = {Objective.USD_PER_HOUR: _hourly(problem), Objective.USD_PER_REQUEST: 1.0}.get(problem.objective, 0.0)
    home = next((at for at, block in enumerate(problem.blocks) if block.name == handoff.block), -1)
    visits = handoff.visits if home < 0 else problem.blocks[home].visits
    usd, seconds = np.zeros((len(ports), len(ports))), np.zeros((len(ports), len(ports)))
    for into, values, factor in (
        (usd, handoff.usd_per_visit, requests * handoff.visits),
        (seconds, handoff.latency_s, visits),
    ):
        for (a, b), value in values.items():
            if a in ports and b in ports:
                into[ports[a], ports[b]] = math.inf if math.isinf(value) else factor * value
    return Hop(places[handoff.source], places[handoff.target], home, handoff.tied, usd, seconds)


def _web(problem: PlacementProblem, block: Block, places: Mapping[str, int]) -> Web:
    order = problem.order(block)
    steps = list(pairwise(order))
    moves = [(each.source, each.target) for each in problem.inside(block)]
    is_chain = set(moves) == set(steps) and len(moves) == len(steps)
    return Web(block.visits, tuple(places[name] for name in order), is_chain)
