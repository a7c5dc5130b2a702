"""A choice of options that is changed a little at a time: what it costs, and what each change would cost, in
microseconds.

Limits may be exceeded on the way, at a price that rises until they are held.
"""

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from weft.plan.decompose.paths import Paths
from weft.plan.decompose.tables import NO_TIE, UNLIMITED, Hop, Tables
from weft.plan.problem import whole_replicas

Matrix = list[list[float]]

Moves = Sequence[tuple[int, int]]
"""Tasks, each with its new option."""


class Effect(NamedTuple):
    """What moves would change: `cost` with fines, `paid` without them, seconds of a run, loads and replicas of pools
    (new values), devices of classes (differences)."""

    cost: float
    paid: float
    seconds: float
    loads: dict[int, float]
    replicas: dict[int, int]
    devices: dict[int, float]


@dataclass(slots=True)
class Fines:
    """For each device beyond the inventory, each second beyond the limit, each forbidden hand-off."""

    device: list[float]
    second: float
    forbidden: float

    def scaled(self, factor: float) -> "Fines":
        return Fines([each * factor for each in self.device], self.second * factor, self.forbidden)


class State:
    """`option`: of each task; `members`: tasks of each pool."""

    def __init__(self, tables: Tables, option: Iterable[int], fines: Fines) -> None:
        self.tables, self.paths, self.fines = tables, Paths(tables), fines
        self.limit_s, self.late_usd_per_s, self.second = tables.limit_s, tables.late_usd_per_s, tables.second
        self.pool: list[int] = tables.pool.tolist()
        self.load: list[float] = tables.load.tolist()
        self.own_cost: list[float] = tables.cost.tolist()
        self.price: list[float] = tables.price.tolist()
        self.devices: list[float] = tables.devices.tolist()
        self.device_class: list[int] = tables.device_class.tolist()
        self.inventory: list[float] = tables.inventory.tolist()
        self.hops_of = _hops_of(tables)
        self.block_of = [-1] * tables.tasks
        self.weight = [0.0] * tables.tasks
        for at, web in enumerate(tables.webs):
            for task in web.tasks:
                self.weight[task] = web.visits if web.is_chain else 0.0
                self.block_of[task] = -1 if web.is_chain else at
        self.hop_rows = [_hop_row(tables, hop, fines.forbidden) for hop in tables.hops]
        self.restart(option)

    def restart(self, option: Iterable[int]) -> None:
        """Counts all anew."""
        self.option = list(option)
        self.members: list[list[int]] = [[] for _ in self.price]
        self.place = [0] * len(self.option)
        self.loads = [0.0] * len(self.price)
        for task, option_ in enumerate(self.option):
            self._join(task, self.pool[option_])
            self.loads[self.pool[option_]] += self.load[option_]
        self.replicas = [whole_replicas(load) if who else 0 for load, who in zip(self.loads, self.members, strict=True)]
        self.used = [0.0] * len(self.inventory)
        for pool, count in enumerate(self.replicas):
            if self.device_class[pool] != UNLIMITED:
                self.used[self.device_class[pool]] += count * self.devices[pool]
        hops, blocks = range(len(self.tables.hops)), range(len(self.tables.webs))
        moved_usd, moved_s = self._moved(hops)
        in_webs = sum(self.paths.block_s(at, self.option) for at in blocks if not self.tables.webs[at].is_chain)
        latency = self.paths.latency_s
        self.seconds = (
            moved_s
            + in_webs
            + sum(weight * latency[each] for weight, each in zip(self.weight, self.option, strict=True))
        )
        self.paid = moved_usd + sum(self.own_cost[each] for each in self.option)
        self.paid += sum(price * count for price, count in zip(self.price, self.replicas, strict=True))

    @property
    def objective(self) -> float:
        """With the price of lateness, where the limit is soft."""
        late_s = max(0.0, self.seconds - self.limit_s)
        late_usd = late_s * self.late_usd_per_s if math.isfinite(self.late_usd_per_s) and late_s else 0.0
        return self.paid + self.second * self.seconds + late_usd

    @property
    def holds(self) -> bool:
        """All limits."""
        if any(used > held for used, held in zip(self.used, self.inventory, strict=True)):
            return False
        if math.isinf(self.late_usd_per_s) and self.seconds > self.limit_s + 1e-9:
            return False
        return all(math.isfinite(self.paths.moved_s(hop, self.option)) for hop in range(len(self.tables.hops)))

    def weigh(self, moves: Moves) -> Effect:
        paid, seconds = self._rerouted(moves)
        loads, replicas = self._reloaded(moves)
        devices: dict[int, float] = {}
        for pool, count in replicas.items():
            if count != self.replicas[pool]:
                more = count - self.replicas[pool]
                paid += self.price[pool] * more
                kind = self.device_class[pool]
                if kind != UNLIMITED:
                    devices[kind] = devices.get(kind, 0.0) + more * self.devices[pool]
        cost = paid + self.second * seconds + self._late(seconds)
        for kind, more in devices.items():
            over = self.used[kind] - self.inventory[kind]
            cost += self.fines.device[kind] * (max(0.0, over + more) - max(0.0, over))
        return Effect(cost, paid, seconds, loads, replicas, devices)

    def apply(self, moves: Moves, effect: Effect) -> None:
        for task, option in moves:
            old, new = self.pool[self.option[task]], self.pool[option]
            self.option[task] = option
            if old != new:
                self._leave(task, old)
                self._join(task, new)
        self.paid += effect.paid
        self.seconds += effect.seconds
        for pool, load in effect.loads.items():
            self.loads[pool], self.replicas[pool] = load, effect.replicas[pool]
        for kind, more in effect.devices.items():
            self.used[kind] += more

    def _late(self, more_s: float) -> float:
        """The fine or price of so many seconds more."""
        over_s = self.seconds - self.limit_s
        if over_s <= 0 and over_s + more_s <= 0:
            return 0.0
        per_s = self.late_usd_per_s if math.isfinite(self.late_usd_per_s) else self.fines.second
        return per_s * (max(0.0, over_s + more_s) - max(0.0, over_s))

    def _reloaded(self, moves: Moves) -> tuple[dict[int, float], dict[int, int]]:
        loads: dict[int, float] = {}
        counts: dict[int, int] = {}
        pool, load = self.pool, self.load
        for task, option in moves:
            was = self.option[task]
            for at, more, count in ((pool[was], -load[was], -1), (pool[option], load[option], 1)):
                if at not in loads:
                    loads[at], counts[at] = self.loads[at], len(self.members[at])
                loads[at] += more
                counts[at] += count
        return loads, {at: whole_replicas(load) if counts[at] else 0 for at, load in loads.items()}

    def _rerouted(self, moves: Moves) -> tuple[float, float]:
        """Dollars and seconds of tasks and hand-offs."""
        option, latency = self.option, self.paths.latency_s
        paid = seconds = 0.0
        blocks: set[int] = set()
        elsewhere: set[int] = set()
        before = [option[task] for task, _ in moves]
        for (task, new), was in zip(moves, before, strict=True):
            paid += self.own_cost[new] - self.own_cost[was]
            seconds += self.weight[task] * (latency[new] - latency[was])
            if self.block_of[task] >= 0:
                blocks.add(self.block_of[task])
            if self.paths.port[new] != self.paths.port[was] or self.paths.tie[new] != self.paths.tie[was]:
                elsewhere.update(self.hops_of[task])
        if not elsewhere and not blocks:
            return paid, seconds
        usd_before, s_before = self._moved(elsewhere, blocks)
        for task, new in moves:
            option[task] = new
        usd_after, s_after = self._moved(elsewhere, blocks)
        for (task, _), was in zip(moves, before, strict=True):
            option[task] = was
        return paid + usd_after - usd_before, seconds + s_after - s_before

    def _moved(self, hops: Iterable[int], blocks: Iterable[int] = ()) -> tuple[float, float]:
        """Dollars and seconds of hand-offs, and seconds of blocks that are no chains. A forbidden one takes no time but
        is fined."""
        option, port, tie, rows = self.option, self.paths.port, self.paths.tie, self.hop_rows
        usd, seconds = 0.0, sum(self.paths.block_s(at, option) for at in blocks)
        for hop in hops:
            source, target, tied, row_usd, row_s = rows[hop]
            a, b = option[source], option[target]
            if tied and (tie[a] != NO_TIE or tie[b] != NO_TIE):
                usd += 0.0 if tie[a] == tie[b] else self.fines.forbidden
            else:
                usd += row_usd[port[a]][port[b]]
                seconds += row_s[port[a]][port[b]]
        return usd, seconds

    def _leave(self, task: int, pool: int) -> None:
        members, place = self.members[pool], self.place[task]
        last = members.pop()
        if last != task:
            members[place], self.place[last] = last, place

    def _join(self, task: int, pool: int) -> None:
        self.place[task] = len(self.members[pool])
        self.members[pool].append(task)


def _hop_row(tables: Tables, hop: Hop, fine: float) -> tuple[int, int, bool, Matrix, Matrix]:
    """Ends, whether tied, dollars and seconds. Seconds in a block that is no chain are counted with its paths."""
    counts = hop.block < 0 or tables.webs[hop.block].is_chain
    is_forbidden = np.isinf(hop.seconds)
    seconds = np.where(is_forbidden, 0.0, hop.seconds if counts else 0.0)
    return hop.source, hop.target, hop.tied, np.where(is_forbidden, fine, hop.usd).tolist(), seconds.tolist()


def _hops_of(tables: Tables) -> list[list[int]]:
    found: defaultdict[int, list[int]] = defaultdict(list)
    for at, hop in enumerate(tables.hops):
        for task in {hop.source, hop.target}:
            found[task].append(at)
    return [found[task] for task in range(tables.tasks)]
