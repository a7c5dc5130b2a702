"""A lower bound of a placement's cost by Lagrangian prices: on each device class, and on each second of a run.

With prices, nothing is shared any more: each task takes its cheapest option that agrees with its hand-offs (`slots`),
and what the prices earn for the whole inventory and the whole time limit is given back. Any prices give a bound; good
ones are found by subgradient ascent. Times of blocks that are no chains are bounded by a mean of their paths, each the
longest of some choice on the way. Fixing the port of the hub, the task with most hand-offs, and taking the least of
the bounds, is stronger: a fraction of the hub cannot be at every port then.
"""

from dataclasses import dataclass, field

import numpy as np

from weft.plan.decompose.paths import Paths
from weft.plan.decompose.slots import Cheapest, Slots, cheapest
from weft.plan.decompose.tables import UNLIMITED, Floats, Ints, Tables

FIRST_AIM, LEAST_AIM, SHRINK, PATIENCE, MOMENTUM = 0.1, 2e-5, 0.5, 8, 0.5
"""A step of the ascent aims at a bound better by a tenth; after eight that bring nothing, at half of that, from the
best prices again. It keeps half of the last step's direction."""

NEAR = 3e-3
"""Prices are good where their bound is within this of the best."""


@dataclass(frozen=True, slots=True)
class Prices:
    """In the unit of the objective: of a device of each class, and of a second of a run."""

    device: Floats
    second: float


@dataclass(frozen=True, slots=True)
class Bound:
    """`option`: what each task takes at these prices; `taken`: how often good prices took each option; `weight`: what
    a task's latency counts in a run."""

    value: float
    prices: Prices
    option: Ints
    taken: Floats
    hub_port: int | None


@dataclass(frozen=True, slots=True)
class _Point:
    value: float
    slope: Floats
    option: Ints


@dataclass(frozen=True, slots=True)
class _BySlot:
    """Of options in slot order: `cost` with that of replicas, `devices` that are held."""

    task: Ints
    device_class: Ints
    cost: Floats
    devices: Floats
    latency_s: Floats


def _by_slot(slots: Slots) -> _BySlot:
    of, order = slots.tables, slots.order
    cost = np.where(of.possible, of.cost + of.held * of.price[of.pool], np.inf)
    devices = of.held * of.devices[of.pool]
    return _BySlot(of.task[order], of.device_class[of.pool][order], cost[order], devices[order], of.latency_s[order])


@dataclass(slots=True)
class Relaxation:
    """The problem with prices instead of limits. `task_weight`, `hop_weight`: how much a second of each counts."""

    slots: Slots
    hub_port: int | None = None
    by_slot: "_BySlot" = field(init=False)
    paths: Paths = field(init=False)
    task_weight: Floats = field(init=False)
    hop_weight: Floats = field(init=False)
    followed: int = 0

    def __post_init__(self) -> None:
        tables = self.tables
        self.by_slot, self.paths = _by_slot(self.slots), Paths(tables)
        self.task_weight = tables.visits.copy()
        self.hop_weight = np.ones(len(tables.hops))
        self.follow(np.asarray(tables.first[:-1]))

    @property
    def tables(self) -> Tables:
        return self.slots.tables

    def at(self, prices: Prices) -> _Point:
        tables = self.tables
        second = tables.second + prices.second
        device = np.append(prices.device, 0.0)[self.by_slot.device_class]
        latency = self.by_slot.latency_s * self.task_weight[self.by_slot.task]
        cost = self.by_slot.cost + self.by_slot.devices * device + second * latency
        found = cheapest(self.slots, cost, second, self.hop_weight, self.hub_port)
        if not np.isfinite(found.cost):
            return _Point(np.inf, np.zeros(0), found.option)
        slope = np.append(self._excess(found.option), self._late_s(found))
        limit_s = tables.limit_s if np.isfinite(tables.limit_s) else 0.0
        value = found.cost - float(prices.device @ tables.inventory) - prices.second * limit_s
        return _Point(value, slope, found.option)

    def follow(self, option: Ints) -> None:
        """Blocks that are no chains: let the longest paths of this choice count too."""
        self.followed += 1
        for at, web in enumerate(self.tables.webs):
            if not web.is_chain:
                self._follow_block(at, option.tolist())

    def _follow_block(self, at: int, option: list[int]) -> None:
        web, (tasks, hops) = self.tables.webs[at], self.paths.longest(at, option)
        inside = [hop for task in web.tasks for hop in self.paths.arriving[task]]
        for weight, members, on_path, full in (
            (self.task_weight, web.tasks, tasks, web.visits),
            (self.hop_weight, inside, hops, 1.0),
        ):
            for each in members:
                weight[each] += (full * (each in on_path) - weight[each]) / self.followed

    def _excess(self, option: Ints) -> Floats:
        """Devices used beyond the inventory, by class."""
        tables = self.tables
        limited = option[tables.device_class[tables.pool[option]] != UNLIMITED]
        pool = tables.pool[limited]
        used = np.bincount(
            tables.device_class[pool], tables.held[limited] * tables.devices[pool], len(tables.inventory)
        )
        return used - tables.inventory

    def _late_s(self, found: Cheapest) -> float:
        if not np.isfinite(self.tables.limit_s):
            return 0.0
        tasks_s = float(self.task_weight @ self.tables.latency_s[found.option])
        return tasks_s + float(self.hop_weight @ found.hop_seconds) - self.tables.limit_s


def bound(slots: Slots, steps: int, start: Prices | None = None, hub_port: int | None = None) -> Bound | None:
    """The best of so many steps, from none or from given prices; None where no options agree with the hand-offs."""
    relaxation = Relaxation(slots, hub_port)
    ascent = _Ascent.of(slots.tables, start)
    for _ in range(steps):
        prices = ascent.prices
        point = relaxation.at(prices)
        if not np.isfinite(point.value):
            return None
        ascent.learn(prices, point)
        relaxation.follow(point.option)
        if not ascent.step(point):
            break
    return ascent.result(hub_port)


@dataclass(slots=True)
class _Ascent:
    """`scaled`: prices of the whole inventory of each class, and of the whole time limit."""

    scale: Floats
    caps: Floats
    scaled: Floats
    aim: float
    best: float = -np.inf
    best_scaled: Floats = field(default_factory=lambda: np.zeros(0))
    best_option: Ints = field(default_factory=lambda: np.zeros(0, int))
    taken: Floats = field(default_factory=lambda: np.zeros(0))
    failed: int = 0
    direction: Floats | float = 0.0

    @classmethod
    def of(cls, tables: Tables, start: Prices | None) -> "_Ascent":
        has_limit = np.isfinite(tables.limit_s)
        scale = np.append(np.maximum(tables.inventory, 1.0), max(tables.limit_s, 1e-3) if has_limit else 1.0)
        caps = np.append(
            np.full(len(tables.inventory), np.inf), tables.late_usd_per_s * scale[-1] if has_limit else 0.0
        )
        scaled = np.zeros(len(scale)) if start is None else np.append(start.device, start.second) * scale
        return cls(scale, caps, scaled, FIRST_AIM if start is None else FIRST_AIM / 4, taken=np.zeros(len(tables.task)))

    @property
    def prices(self) -> Prices:
        each = self.scaled / self.scale
        return Prices(each[:-1], float(each[-1]))

    def learn(self, prices: Prices, point: _Point) -> None:
        if point.value > self.best + 1e-5 * abs(self.best) or not len(self.best_option):
            self.best, self.best_scaled, self.best_option, self.failed = point.value, self.scaled, point.option, 0
        else:
            self.failed += 1
        if point.value >= self.best - NEAR * abs(self.best):
            self.taken[point.option] += 1

    def step(self, point: _Point) -> bool:
        """False where there is nothing more to gain."""
        if self.failed > PATIENCE:
            self.aim, self.failed, self.direction, self.scaled = self.aim * SHRINK, 0, 0.0, self.best_scaled
            return self.aim >= LEAST_AIM
        direction = point.slope / self.scale + MOMENTUM * self.direction
        self.direction = np.where((self.scaled <= 0) & (direction < 0), 0.0, direction)
        length = float(self.direction @ self.direction)
        if length == 0:
            return False
        goal = self.best + self.aim * max(abs(self.best), 1e-9)
        self.scaled = np.clip(self.scaled + (goal - point.value) / length * self.direction, 0.0, self.caps)
        return True

    def result(self, hub_port: int | None) -> Bound:
        each = self.best_scaled / self.scale
        return Bound(self.best, Prices(each[:-1], float(each[-1])), self.best_option, self.taken, hub_port)
