"""Simulated annealing from a choice of options: changes that cost more are taken too, ever more seldom.

Four kinds of change: a task takes another option; two tasks swap pools, so that replicas stay full; two ends of a
hand-off move together; a whole pool moves into another. The same start and seed give the same answer.
"""

import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from weft.plan.decompose.bound import Bound
from weft.plan.decompose.state import Fines, Moves, State
from weft.plan.decompose.tables import Floats, Ints, Tables, Truths

PHASES = 32
"""Between two, it cools, fines are adjusted to whether limits hold, and the caller may end it."""

EASE, RAISE = 1.1, 1.3
"""What fines are divided by where limits hold, and multiplied with where they do not."""

COOLING = 25.0
"""The first temperature over the last."""

SINGLE, SWAP, PAIR = 0.45, 0.9, 0.97
"""Of changes: those of one task, then with swaps, then with ends of hand-offs; the rest are whole pools."""

MOST_MERGED = 12
"""Tasks of a pool that moves at once."""

FEWEST = 4
"""Options to choose from for a task, at least, where it has so many."""


@dataclass(frozen=True, slots=True)
class Found:
    objective: float
    option: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Candidates:
    """The options among which the search chooses. `by_pool`, `by_tie`: for each task, its option there."""

    of_task: tuple[tuple[int, ...], ...]
    by_pool: tuple[dict[int, int], ...]
    by_tie: tuple[dict[int, int], ...]


def candidates(tables: Tables, near: Bound, *starts: Sequence[int]) -> Candidates:
    """Options in pools that good prices use or a start uses; the cheapest at these prices where they are few."""
    in_use = np.bincount(tables.pool, near.taken, len(tables.pools)) > 0.01 * near.taken.max()
    for start in starts:
        in_use[tables.pool[list(start)]] = True
    cost = priced(tables, near)
    of_task = tuple(_few(tables, task, cost, in_use) for task in range(tables.tasks))
    pool, tie = tables.pool.tolist(), tables.tie.tolist()
    cheapest_last = [each[::-1] for each in of_task]
    by_pool = tuple({pool[option]: option for option in each} for each in cheapest_last)
    by_tie = tuple({tie[option]: option for option in each if tie[option] >= 0} for each in cheapest_last)
    return Candidates(of_task, by_pool, by_tie)


def priced(tables: Tables, near: Bound) -> Floats:
    """What each option costs at these prices, hand-offs aside; infinite where it is impossible."""
    replica = tables.price + tables.devices * np.append(near.prices.device, 0.0)[tables.device_class]
    seconds = (tables.second + near.prices.second) * tables.visits[tables.task] * tables.latency_s
    return np.where(tables.possible, tables.cost + tables.held * replica[tables.pool] + seconds, np.inf)


def _few(tables: Tables, task: int, cost: Floats, in_use: Truths) -> tuple[int, ...]:
    """Cheapest first."""
    begin, end = int(tables.first[task]), int(tables.first[task + 1])
    by_cost: Ints = begin + np.argsort(cost[begin:end], kind="stable")
    by_cost = by_cost[np.isfinite(cost[by_cost])]
    kept = by_cost[in_use[tables.pool[by_cost]]]
    return tuple((kept if len(kept) >= FEWEST else by_cost[:FEWEST]).tolist())


@dataclass(slots=True)
class Annealing:
    """`warmth`: what a change may cost and still be taken now and then, at the start."""

    tables: Tables
    near: Bound
    among: Candidates
    warmth: float
    seed: int = 0
    best: Found | None = None
    dice: random.Random = field(init=False)

    def __post_init__(self) -> None:
        self.dice = random.Random(self.seed)

    def run(self, start: Sequence[int], steps: int, is_enough: Callable[[Found | None], bool]) -> Found | None:
        """The best placement on the way that holds all limits."""
        fines = self._fines()
        state, factor = State(self.tables, start, fines), 1.0
        self._note(state)
        for phase in range(PHASES):
            self._walk(state, steps // PHASES, self.warmth * COOLING ** -(phase / PHASES))
            factor = factor / EASE if state.holds else factor * RAISE
            state.fines = fines.scaled(factor)
            state.restart(state.option)
            if is_enough(self.best):
                break
        return self.best

    def _fines(self) -> Fines:
        per_device = [float(price) + 2 * self.warmth for price in self.near.prices.device]
        a_little_s = 0.1 * self.tables.limit_s / self.tables.tasks if 0 < self.tables.limit_s < math.inf else 1.0
        return Fines(per_device, self.near.prices.second + self.warmth / a_little_s, self._dearest())

    def _dearest(self) -> float:
        """More than any choice can save: each task alone at its dearest, at any price of seconds."""
        of = self.tables
        replicas = np.maximum(1.0, np.ceil(of.load)) * of.price[of.pool]
        late_usd = of.late_usd_per_s if math.isfinite(of.late_usd_per_s) else 0.0
        whole = of.cost + replicas + (of.second + late_usd) * of.latency_s * of.visits[of.task]
        return 1.0 + float(sum(whole[list(each)].max() for each in self.among.of_task))

    def _walk(self, state: State, steps: int, warmth: float) -> None:
        draw = self.dice.random
        for _ in range(steps):
            moves = self._moves(state)
            if not moves:
                continue
            effect = state.weigh(moves)
            if effect.cost <= 0 or draw() < math.exp(-effect.cost / warmth):
                state.apply(moves, effect)
                self._note(state)

    def _note(self, state: State) -> None:
        if (self.best is None or state.objective < self.best.objective - 1e-9) and state.holds:
            self.best = Found(state.objective, tuple(state.option))

    def _moves(self, state: State) -> Moves:
        kind, task = self.dice.random(), self._any(range(self.tables.tasks))
        option = self._any(self.among.of_task[task])
        if option == state.option[task]:
            return ()
        if kind < SINGLE:
            return ((task, option),)
        if kind < SWAP:
            return self._swap(state, task, option)
        if kind < PAIR:
            return self._pair(state, task, option)
        return self._merge(state, task, option)

    def _swap(self, state: State, task: int, option: int) -> Moves:
        pool = state.pool[option]
        if not state.members[pool] or pool == state.pool[state.option[task]]:
            return ((task, option),)
        other = self._any(state.members[pool])
        back = self.among.by_pool[other].get(state.pool[state.option[task]])
        return () if back is None else ((task, option), (other, back))

    def _pair(self, state: State, task: int, option: int) -> Moves:
        if not state.hops_of[task]:
            return ((task, option),)
        hop = self.tables.hops[self._any(state.hops_of[task])]
        other = hop.target if hop.source == task else hop.source
        if other == task:
            return ((task, option),)
        tie = state.paths.tie[option]
        joined = self.among.by_tie[other].get(tie) if hop.tied and tie >= 0 else self._any(self.among.of_task[other])
        return () if joined is None else ((task, option), (other, joined))

    def _merge(self, state: State, task: int, option: int) -> Moves:
        members, pool = state.members[state.pool[state.option[task]]], state.pool[option]
        if len(members) > MOST_MERGED or pool == state.pool[state.option[task]]:
            return ()
        moves = [(member, self.among.by_pool[member].get(pool)) for member in members]
        return (
            [(member, to) for member, to in moves if to is not None] if all(to is not None for _, to in moves) else ()
        )

    def _any(self, values: Sequence[int]) -> int:
        return values[int(self.dice.random() * len(values))]
