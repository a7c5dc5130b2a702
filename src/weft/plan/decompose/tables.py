"""A placement problem as arrays, one entry for each option, in the order of tasks and their options.

Everything that the bound and the search read; both count in the unit of the problem's objective.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import MISSING, dataclass, fields
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from weft.core.units import HOUR_S
from weft.plan.evaluate import occupied_usd, penalty_weight
from weft.plan.problem import Block, Handoff, Objective, Option, PlacementProblem, PoolSpec, Task

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

UNLIMITED = -1
"""The device class of pools that no inventory limits."""

NO_TIE = -1

_KNOWN = {
    PlacementProblem: {
        *("tasks", "handoffs", "blocks", "rate_per_s", "inventory", "max_utilisation"),
        *("e2e_limit_s", "penalty_usd_per_s", "objective"),
    },
    Handoff: {"source", "target", "visits", "block", "latency_s", "usd_per_visit", "tied"},
    Block: {"name", "visits", "tasks"},
    Task: {"name", "visits", "options"},
    Option: {"name", "pool", "latency_s", "busy_s", "usd_per_visit", "port", "joules_per_visit", "tie"},
    PoolSpec: {"name", "device_class", "devices_per_replica", "usd_per_hour", "family"},
}
"""The terms of a problem that this package weighs. With any other in use, the problem is left to the MILP."""


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
    """`load`: replicas that an option keeps busy; `cost`: what it costs besides replicas; `price`: a replica's cost;
    `first`: where each task's options begin, and their number last."""

    problem: PlacementProblem
    task: Ints
    first: Ints
    pool: Ints
    port: Ints
    tie: Ints
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
        return np.where(alone[self.pool], whole, self.load)

    @cached_property
    def possible(self) -> NDArray[np.bool_]:
        """Options whose own replicas the inventory can hold."""
        needed = np.maximum(1.0, np.ceil(self.load - 1e-6)) * self.devices[self.pool]
        limits = np.append(self.inventory, np.inf)
        return needed <= limits[self.device_class[self.pool]]

    @property
    def late_usd_per_s(self) -> float:
        """What a second beyond the end-to-end limit costs; infinite where the limit is hard."""
        return math.inf if self.problem.hard_limit else penalty_weight(self.problem)

    @property
    def limit_s(self) -> float:
        return math.inf if self.problem.e2e_limit_s is None else self.problem.e2e_limit_s

    @property
    def second(self) -> float:
        """What a second of a run counts in the objective, limit or not."""
        return 1.0 if self.problem.objective is Objective.E2E_S else 0.0


def is_known(problem: PlacementProblem) -> bool:
    """Whether every term of the problem is one that the tables hold."""
    if problem.objective is Objective.USD_TO_BUY:
        return False
    options = [option for task in problem.tasks for option in task.options]
    pools = {id(option.pool): option.pool for option in options}.values()
    parts: tuple[Iterable[object], ...] = ((problem,), problem.handoffs, problem.blocks, problem.tasks, options, pools)
    return all(_is_known(kind, part) for kind, part in zip(_ORDER, parts, strict=True))


_ORDER = (PlacementProblem, Handoff, Block, Task, Option, PoolSpec)


def _is_known(kind: type, parts: Iterable[object]) -> bool:
    """Fields that are not known must be at their defaults."""
    defaults = {
        each.name: each.default_factory() if each.default_factory is not MISSING else each.default
        for each in fields(kind)
        if each.name not in _KNOWN[kind]
    }
    return all(getattr(part, name) == default for name, default in defaults.items() for part in parts)


def tables(problem: PlacementProblem) -> Tables:
    options = [option for task in problem.tasks for option in task.options]
    counts = np.array([len(task.options) for task in problem.tasks])
    pool, pools = _pools(options)
    ports, ties = _numbers(option.port for option in options), _numbers(option.tie for option in options if option.tie)
    classes, places = _numbers(problem.inventory), _numbers(task.name for task in problem.tasks)
    visits = np.repeat([task.visits for task in problem.tasks], counts)
    busy_s = np.array([option.busy_s for option in options], float)
    hourly = problem.objective is Objective.USD_PER_HOUR
    return Tables(
        problem=problem,
        task=np.repeat(np.arange(len(counts)), counts),
        first=np.concatenate([[0], np.cumsum(counts)]),
        pool=pool,
        port=np.array([ports[option.port] for option in options]),
        tie=np.array([ties.get(option.tie, NO_TIE) for option in options]),
        load=problem.rate_per_s * visits * busy_s / problem.max_utilisation,
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
    """Pool number of each option, and the pools. Equal pools are one; most are also one object, which is found faster."""
    numbers: dict[PoolSpec, int] = {}
    by_object = {id(option.pool): option.pool for option in options}
    number_of = {key: numbers.setdefault(pool, len(numbers)) for key, pool in by_object.items()}
    return np.array([number_of[id(option.pool)] for option in options]), tuple(numbers)


def _costs(problem: PlacementProblem) -> Floats:
    pairs = ((task, option) for task in problem.tasks for option in task.options)
    match problem.objective:
        case Objective.USD_PER_HOUR:
            each = (_hourly(problem) * task.visits * option.usd_per_visit for task, option in pairs)
        case Objective.USD_PER_REQUEST:
            each = (
                occupied_usd(problem, task.visits, option) + task.visits * option.usd_per_visit
                for task, option in pairs
            )
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
    steps = list(zip(order, order[1:], strict=False))
    moves = [(each.source, each.target) for each in problem.inside(block)]
    is_chain = set(moves) == set(steps) and len(moves) == len(steps)
    return Web(block.visits, tuple(places[name] for name in order), is_chain)
