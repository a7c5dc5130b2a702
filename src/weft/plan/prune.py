"""Drop pools that no optimal placement needs, before the solver sees them. Exact: the optimum does not change.

A pool is dropped when moving whatever it serves to another pool never hurts: for every set of its tasks, the other one
needs no more dollars, devices (in whole replicas) and joules, and each of the tasks is no slower there. Where traffic
is split, or the sets are too many, each task alone must load the other pool no more. Pools are compared at the same
port, tied ones with tied ones, and across device classes only where neither is limited by the inventory.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from weft.core.units import HOUR_S
from weft.plan.evaluate import occupied_usd
from weft.plan.problem import ROUNDING, Objective, Option, PlacementProblem, PoolSpec, Task

MOST_TASKS = 8
"""Where more tasks share pools, the sets of them are too many to compare."""


@dataclass(frozen=True, slots=True)
class _Served:
    """One pool with its option for each task that may use it."""

    pool: PoolSpec
    by_task: Mapping[str, Option]


def pruned(problem: PlacementProblem) -> PlacementProblem:
    """The same problem with fewer options."""
    rivals: defaultdict[tuple[str, str, bool], list[_Served]] = defaultdict(list)
    for served in _served(problem):
        kinds = {(option.port, option.tie) for option in served.by_task.values()}
        port, tie = kinds.pop()
        if not kinds and tie in ("", served.pool.name):
            limited = served.pool.device_class if served.pool.device_class in problem.inventory else ""
            rivals[limited, port, bool(tie)].append(served)
    dropped = {pool for group in rivals.values() for pool in _dropped(problem, group)}
    return replace(problem, tasks=tuple(_without(task, dropped) for task in problem.tasks))


def _without(task: Task, dropped: set[PoolSpec]) -> Task:
    return replace(task, options=tuple(option for option in task.options if option.pool not in dropped))


def _served(problem: PlacementProblem) -> list[_Served]:
    """Pools that may be compared: those in which no task has two options."""
    options: defaultdict[PoolSpec, list[tuple[str, Option]]] = defaultdict(list)
    for task in problem.tasks:
        for option in task.options:
            options[option.pool].append((task.name, option))
    return [_Served(pool, dict(pairs)) for pool, pairs in options.items() if len(dict(pairs)) == len(pairs)]


def _dropped(problem: PlacementProblem, group: Sequence[_Served]) -> list[PoolSpec]:
    """Of two equal pools the later one goes, so one of them stays."""
    tasks = [task for task in problem.tasks if any(task.name in served.by_task for served in group)]
    by_set = len(tasks) <= MOST_TASKS and not problem.split
    own = _effects(problem, tasks, group) if by_set else _effects_of_each(problem, tasks, group)
    more = [(*_joules(problem, tasks, served), *_tails(problem, tasks, served)) for served in group]
    effects = np.concatenate([own, np.array(more)], axis=1)
    no_worse = np.all(effects[:, None, :] <= effects[None, :, :], axis=2)
    order = np.arange(len(group))
    replaces = no_worse & (~no_worse.T | (order[:, None] < order[None, :]))
    gone = {int(index) for index in np.flatnonzero(np.any(replaces, axis=0))}
    return [served.pool for index, served in enumerate(group) if index in gone]


def _effects(problem: PlacementProblem, tasks: Sequence[Task], group: Sequence[_Served]) -> NDArray[np.float64]:
    """(pools, effects): seconds for each task; dollars and devices for each set of tasks; infinite where the pool does
    not serve one."""
    each = np.array([[_of_task(problem, task, served) for task in tasks] for served in group])
    seconds, loads, paid_usd = each[:, :, 0], each[:, :, 1:4], each[:, :, 4]
    price, devices = np.array([_of_replica(problem, served.pool) for served in group]).T[:, :, None]
    sets = _subsets(len(tasks))
    replicas = np.maximum(1.0, np.ceil(np.max(sets @ loads, axis=2) - ROUNDING))
    hourly = problem.objective is not Objective.USD_PER_REQUEST
    usd = paid_usd @ sets.T + (replicas * price if hourly else 0.0)
    unserved = np.isinf(seconds) @ sets.T > 0
    return np.hstack([seconds, np.where(unserved, np.inf, usd), np.where(unserved, np.inf, replicas * devices)])


def _effects_of_each(problem: PlacementProblem, tasks: Sequence[Task], group: Sequence[_Served]) -> NDArray[np.float64]:
    """(pools, effects): seconds, load and dollars of each task; price and devices of a replica."""
    return np.array(
        [
            [
                *(number for task in tasks for number in _of_task(problem, task, served, unserved=np.inf)),
                *_of_replica(problem, served.pool),
            ]
            for served in group
        ]
    )


def _of_task(
    problem: PlacementProblem, task: Task, served: _Served, unserved: float = 0.0
) -> tuple[float, float, float, float, float]:
    """Seconds, replicas for work and network, dollars; `unserved`: what stands for the latter where there is none."""
    option = served.by_task.get(task.name)
    if option is None:
        return np.inf, unserved, unserved, unserved, unserved
    return option.latency_s, *problem.loads(task, option), _paid_usd(problem, task, option)


def _of_replica(problem: PlacementProblem, pool: PoolSpec) -> tuple[float, float]:
    """Its price, and devices where they are limited."""
    return pool.usd_per_hour, float(pool.devices_per_replica if pool.device_class in problem.inventory else 0)


def _tails(problem: PlacementProblem, tasks: Sequence[Task], served: _Served) -> list[float]:
    """Of each task, where a promise counts them; and what they wait and work where that counts apart."""
    counted = any(promise.with_tails for promise in problem.promises)
    if not counted and not problem.in_parts:
        return []
    options = [served.by_task.get(task.name) for task in tasks]
    tails = [option.tail_s if option else np.inf for option in options]
    waits = [option.wait_s if option else np.inf for option in options]
    work = [option.latency_s - option.wait_s if option else np.inf for option in options]
    return [*(tails if counted else ()), *((*waits, *work) if problem.in_parts else ())]


def _joules(problem: PlacementProblem, tasks: Sequence[Task], served: _Served) -> list[float]:
    """Of each task, where energy matters."""
    if problem.objective is not Objective.JOULES_PER_REQUEST and problem.energy_limit_j is None:
        return []
    options = [served.by_task.get(task.name) for task in tasks]
    return [option.joules_per_visit if option else np.inf for option in options]


def _paid_usd(problem: PlacementProblem, task: Task, option: Option) -> float:
    """What grows with the visits, in the unit of the objective."""
    visits_usd = task.visits * option.usd_per_visit
    if problem.objective is not Objective.USD_PER_REQUEST:
        return HOUR_S * problem.rate_per_s * visits_usd
    return occupied_usd(problem, task, option) + visits_usd


@cache
def _subsets(count: int) -> NDArray[np.float64]:
    """(sets, count): every non-empty set of tasks, as rows of 0 and 1."""
    sets = [chosen for size in range(1, count + 1) for chosen in combinations(range(count), size)]
    return np.array([[float(index in chosen) for index in range(count)] for chosen in sets])
