"""The oracle: try every combination of options. Shares no code with the solver but the problem it reads.

Meant for small problems in tests: the number of combinations is the product of the options of all tasks.
"""

import itertools
import math
from collections.abc import Iterator

from weft.plan.problem import Block, Objective, Option, Placement, PlacementProblem

TOLERANCE = 1e-6


def enumerate_best(problem: PlacementProblem) -> Placement | None:
    """The cheapest feasible placement, the fastest of equals; None where there is none."""
    weighed = (_weigh(problem, chosen) for chosen in _choices(problem) if not _forbidden(problem, chosen))
    candidates = [found for found in weighed if found]
    return min(candidates, key=lambda found: (found.objective, found.e2e_s), default=None)


def _choices(problem: PlacementProblem) -> Iterator[dict[str, Option]]:
    names = [task.name for task in problem.tasks]
    for options in itertools.product(*(task.options for task in problem.tasks)):
        yield dict(zip(names, options, strict=True))


def _forbidden(problem: PlacementProblem, chosen: dict[str, Option]) -> bool:
    pairs = [(handoff, (chosen[handoff.source].port, chosen[handoff.target].port)) for handoff in problem.handoffs]
    return any(math.isinf(handoff.latency_s.get(pair, 0.0)) for handoff, pair in pairs)


def _weigh(problem: PlacementProblem, chosen: dict[str, Option]) -> Placement | None:
    replicas = _replicas(problem, chosen)
    e2e_s = _end_to_end_s(problem, chosen)
    limit_s = math.inf if problem.e2e_limit_s is None else problem.e2e_limit_s
    late_s = max(0.0, e2e_s - limit_s)
    too_late = problem.penalty_usd_per_s is None and late_s > TOLERANCE
    if too_late or not _in_stock(problem, chosen, replicas):
        return None
    paid_usd = _paid_usd_per_request(problem, chosen)
    prices = {option.pool.name: option.pool.usd_per_hour for option in chosen.values()}
    hourly = sum(prices[pool] * count for pool, count in replicas.items()) + paid_usd * problem.rate_per_s * 3600
    occupied = sum(
        task.visits * chosen[task.name].busy_s * chosen[task.name].pool.usd_per_hour / 3600 / problem.max_utilisation
        for task in problem.tasks
    )
    late_usd = late_s * (problem.penalty_usd_per_s or 0.0)
    by_hour = hourly + late_usd * problem.rate_per_s * 3600
    by_request = occupied + paid_usd + late_usd
    objective = by_hour if problem.objective is Objective.USD_PER_HOUR else by_request
    names = {task: option.name for task, option in chosen.items()}
    return Placement(names, replicas, objective, hourly, occupied + paid_usd, e2e_s, late_s, 0.0, 0.0)


def _replicas(problem: PlacementProblem, chosen: dict[str, Option]) -> dict[str, int]:
    busy: dict[str, float] = {}
    for task in problem.tasks:
        option = chosen[task.name]
        share = problem.rate_per_s * task.visits * option.busy_s / problem.max_utilisation
        busy[option.pool.name] = busy.get(option.pool.name, 0.0) + share
    return {pool: max(1, math.ceil(load - TOLERANCE)) for pool, load in busy.items()}


def _in_stock(problem: PlacementProblem, chosen: dict[str, Option], replicas: dict[str, int]) -> bool:
    pools = {option.pool.name: option.pool for option in chosen.values()}
    used: dict[str, int] = {}
    for name, pool in pools.items():
        used[pool.device_class] = used.get(pool.device_class, 0) + replicas[name] * pool.devices_per_replica
    return all(count <= problem.inventory.get(device_class, math.inf) for device_class, count in used.items())


def _paid_usd_per_request(problem: PlacementProblem, chosen: dict[str, Option]) -> float:
    tasks = sum(task.visits * chosen[task.name].usd_per_visit for task in problem.tasks)
    pairs = [(handoff, (chosen[handoff.source].port, chosen[handoff.target].port)) for handoff in problem.handoffs]
    return tasks + sum(handoff.visits * handoff.usd_per_visit.get(pair, 0.0) for handoff, pair in pairs)


def _end_to_end_s(problem: PlacementProblem, chosen: dict[str, Option]) -> float:
    total = 0.0
    for block in problem.blocks:
        total += block.visits * max((_path_s(problem, chosen, path) for path in _paths(problem, block)), default=0.0)
    for handoff in problem.handoffs:
        if handoff.block is None:
            pair = (chosen[handoff.source].port, chosen[handoff.target].port)
            total += handoff.visits * handoff.latency_s.get(pair, 0.0)
    return total


def _paths(problem: PlacementProblem, block: Block) -> Iterator[tuple[str | int, ...]]:
    """Every path through the block: task names with the indices of the hand-offs between them."""

    def extend(path: tuple[str | int, ...]) -> Iterator[tuple[str | int, ...]]:
        yield path
        for index, handoff in enumerate(problem.handoffs):
            if handoff.block == block.name and handoff.source == path[-1]:
                yield from extend((*path, index, handoff.target))

    for task in block.tasks:
        yield from extend((task,))


def _path_s(problem: PlacementProblem, chosen: dict[str, Option], path: tuple[str | int, ...]) -> float:
    total = 0.0
    for part in path:
        if isinstance(part, str):
            total += chosen[part].latency_s
        else:
            handoff = problem.handoffs[part]
            pair = (chosen[handoff.source].port, chosen[handoff.target].port)
            total += handoff.latency_s.get(pair, 0.0)
    return total
