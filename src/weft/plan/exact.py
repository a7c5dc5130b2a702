"""The oracle: try every combination of options. Shares no code with the solver but the problem it reads.

Meant for small problems in tests: the number of combinations is the product of the options of all tasks.
"""

import itertools
import math
from collections.abc import Iterator

from weft.plan.problem import Block, Handoff, Objective, Option, Placement, PlacementProblem, Way
from weft.plan.promises import Course, Promise

TOLERANCE = 1e-6


def enumerate_best(problem: PlacementProblem) -> Placement | None:
    """The cheapest feasible placement, the fastest of equals; None where there is none."""
    weighed = (_weigh(problem, chosen) for chosen in _choices(problem) if not _forbidden(problem, chosen))
    candidates = [found for found in weighed if found]
    return min(candidates, key=lambda found: _rank(problem, found), default=None)


def _rank(problem: PlacementProblem, found: Placement) -> tuple[float, ...]:
    """Equals within rounding are equal."""
    first = round(found.objective, 9 if problem.objective is not Objective.USD_PER_REQUEST else 13)
    if problem.objective in (Objective.JOULES_PER_REQUEST, Objective.USD_TO_BUY, Objective.E2E_S):
        return first, round(found.usd_per_hour, 9), found.e2e_s
    return first, found.e2e_s


def _choices(problem: PlacementProblem) -> Iterator[dict[str, Option]]:
    names = [task.name for task in problem.tasks]
    for options in itertools.product(*(task.options for task in problem.tasks)):
        yield dict(zip(names, options, strict=True))


def _forbidden(problem: PlacementProblem, chosen: dict[str, Option]) -> bool:
    return any(math.isinf(_moved_s(handoff, chosen)) for handoff in problem.handoffs)


def _at_home(handoff: Handoff, chosen: dict[str, Option]) -> bool:
    """Both ends are one replica."""
    ties = {chosen[handoff.source].tie, chosen[handoff.target].tie}
    return handoff.tied and len(ties) == 1 and "" not in ties


def _moved_s(handoff: Handoff, chosen: dict[str, Option]) -> float:
    if _at_home(handoff, chosen):
        return 0.0
    if handoff.tied and (chosen[handoff.source].tie or chosen[handoff.target].tie):
        return math.inf
    return handoff.latency_s.get((chosen[handoff.source].port, chosen[handoff.target].port), 0.0)


def _weigh(problem: PlacementProblem, chosen: dict[str, Option]) -> Placement | None:
    replicas = _replicas(problem, chosen)
    e2e_s = _end_to_end_s(problem, chosen)
    late = _late(problem, chosen, e2e_s)
    joules = sum(task.visits * chosen[task.name].joules_per_visit for task in problem.tasks)
    beyond = _beyond(problem, chosen, replicas)
    to_buy = sum(problem.market.get(name, math.inf) * count for name, count in beyond.items())
    too_late = any(penalty is None and late_s > TOLERANCE for late_s, penalty in late)
    too_hot = problem.energy_limit_j is not None and joules > problem.energy_limit_j + TOLERANCE
    too_dear = math.isinf(to_buy) or to_buy > (math.inf if problem.budget_usd is None else problem.budget_usd)
    used = _link_use(problem, chosen)
    too_full = any(
        use > _limit(problem.max_link_utilisation, problem) * problem.link_bytes_per_s[link] + TOLERANCE
        for link, use in used.items()
    )
    if too_late or too_hot or too_dear or too_full:
        return None
    paid_usd = _paid_usd_per_request(problem, chosen)
    prices = {option.pool.name: option.pool.usd_per_hour for option in chosen.values()}
    hourly = sum(prices[pool] * count for pool, count in replicas.items()) + paid_usd * problem.rate_per_s * 3600
    occupied = sum(
        task.visits
        * chosen[task.name].busy_s
        * chosen[task.name].pool.usd_per_hour
        / 3600
        / _limit(task.max_utilisation, problem)
        for task in problem.tasks
    )
    late_usd = sum(late_s * (penalty or 0.0) for late_s, penalty in late)
    objective = {
        Objective.USD_PER_HOUR: hourly + late_usd * problem.rate_per_s * 3600,
        Objective.USD_PER_REQUEST: occupied + paid_usd + late_usd,
        Objective.JOULES_PER_REQUEST: joules + late_usd,
        Objective.E2E_S: e2e_s + late_usd,
        Objective.USD_TO_BUY: to_buy + late_usd,
    }[problem.objective]
    names = {task: option.name for task, option in chosen.items()}
    per_request = occupied + paid_usd
    return Placement(
        names, replicas, objective, hourly, per_request, e2e_s, _worst(late), 0.0, 0.0, joules, to_buy, {}, beyond, used
    )


def _late(problem: PlacementProblem, chosen: dict[str, Option], e2e_s: float) -> list[tuple[float, float | None]]:
    """Seconds beyond each promise, with what a request pays for one (on average over all requests)."""
    late: list[tuple[float, float | None]] = []
    if problem.e2e_limit_s is not None:
        late.append((max(0.0, e2e_s - problem.e2e_limit_s), problem.penalty_usd_per_s))
    for promise in problem.promises:
        outcomes = [(_course_s(problem, chosen, promise, course), course.probability) for course in promise.courses]
        allowed = [
            time_s
            for time_s, _ in outcomes
            if sum(p for other_s, p in outcomes if other_s <= time_s + 1e-12) >= promise.share - 1e-9
        ]
        penalty = promise.penalty_usd_per_s
        late.append((max(0.0, min(allowed) - promise.limit_s), None if penalty is None else penalty * promise.runs))
    return late


def _worst(late: list[tuple[float, float | None]]) -> float:
    return max((late_s for late_s, _ in late), default=0.0)


def _course_s(problem: PlacementProblem, chosen: dict[str, Option], promise: Promise, course: Course) -> float:
    total = 0.0
    for block in problem.blocks:
        longest_s = _longest_s(problem, chosen, block)
        tails_s = sum(chosen[task].tail_s for task in block.tasks) if promise.with_tails else 0.0
        total += course.visits.get(block.name, 0.0) * (longest_s + tails_s)
    for handoff in problem.handoffs:
        if handoff.block is None:
            total += course.moves.get((handoff.source, handoff.target), 0.0) * _moved_s(handoff, chosen)
    return total


def _replicas(problem: PlacementProblem, chosen: dict[str, Option]) -> dict[str, int]:
    most: dict[str, float] = {}
    for pool in {option.pool for option in chosen.values()}:
        here = [task for task in problem.tasks if chosen[task.name].pool == pool]
        works = sum(task.visits * chosen[task.name].busy_s / _limit(task.max_utilisation, problem) for task in here)
        sent = problem.rate_per_s * sum(chosen[task.name].sent_bytes for task in here) / pool.network_bytes_per_s
        got = problem.rate_per_s * sum(chosen[task.name].received_bytes for task in here) / pool.network_bytes_per_s
        moves = max(sent, got) / _limit(problem.max_link_utilisation, problem)
        most[pool.name] = max(problem.rate_per_s * works, moves)
    return {pool: max(1, math.ceil(load - TOLERANCE)) for pool, load in most.items()}


def _limit(own: float | None, problem: PlacementProblem) -> float:
    return problem.max_utilisation if own is None else own


def _link_use(problem: PlacementProblem, chosen: dict[str, Option]) -> dict[str, float]:
    used = dict.fromkeys(problem.link_bytes_per_s, 0.0)
    for handoff in problem.handoffs:
        pair = (chosen[handoff.source].port, chosen[handoff.target].port)
        if pair in handoff.link and not _at_home(handoff, chosen):
            moved = problem.rate_per_s * handoff.visits * handoff.bytes_per_visit.get(pair, 0.0)
            used[handoff.link[pair]] += moved
    return used


def _beyond(problem: PlacementProblem, chosen: dict[str, Option], replicas: dict[str, int]) -> dict[str, int]:
    """Devices that the inventory lacks, by class."""
    pools = {option.pool.name: option.pool for option in chosen.values()}
    used: dict[str, int] = {}
    for name, pool in pools.items():
        used[pool.device_class] = used.get(pool.device_class, 0) + replicas[name] * pool.devices_per_replica
    return {
        name: count - problem.inventory[name]
        for name, count in used.items()
        if name in problem.inventory and count > problem.inventory[name]
    }


def _paid_usd_per_request(problem: PlacementProblem, chosen: dict[str, Option]) -> float:
    tasks = sum(task.visits * chosen[task.name].usd_per_visit for task in problem.tasks)
    pairs = [
        (handoff, (chosen[handoff.source].port, chosen[handoff.target].port))
        for handoff in problem.handoffs
        if not _at_home(handoff, chosen)
    ]
    return tasks + sum(handoff.visits * handoff.usd_per_visit.get(pair, 0.0) for handoff, pair in pairs)


def _end_to_end_s(problem: PlacementProblem, chosen: dict[str, Option]) -> float:
    total = 0.0
    for block in problem.blocks:
        total += block.visits * _longest_s(problem, chosen, block)
    for handoff in problem.handoffs:
        if handoff.block is None:
            total += handoff.visits * _moved_s(handoff, chosen)
    return total


Event = tuple[str, bool]
"""A task, and whether it ends here or begins."""


def _longest_s(problem: PlacementProblem, chosen: dict[str, Option], block: Block) -> float:
    """Over every path through the block's events: a task begins, and ends; what it waits for lies on an edge."""
    if block.ways:
        moved = {(each.source, each.target): _moved_s(each, chosen) for each in problem.handoffs}
        return max(_way_s(way, chosen, moved) for way in block.ways)
    edges: list[tuple[Event, Event, float]] = [
        ((task, False), (task, True), chosen[task].latency_s) for task in block.tasks
    ]
    for handoff in problem.handoffs:
        if handoff.block != block.name:
            continue
        moved_s, source, target = _moved_s(handoff, chosen), chosen[handoff.source], chosen[handoff.target]
        if handoff.chunks <= 1:
            edges.append(((handoff.source, True), (handoff.target, False), moved_s))
            continue
        first_s = source.wait_s + (source.latency_s - source.wait_s) / handoff.chunks
        last_s = (target.latency_s - target.wait_s) / handoff.chunks
        edges.append(((handoff.source, False), (handoff.target, False), first_s + moved_s))
        edges.append(((handoff.source, True), (handoff.target, True), moved_s + last_s))
    return max((_farthest_s(edges, (task, False)) for task in block.tasks), default=0.0)


def _way_s(way: Way, chosen: dict[str, Option], moved_s: dict[tuple[str, str], float]) -> float:
    """Each task's time, of which the part that is no wait counts as often as its work does."""
    total = sum(times * moved_s[ends] for ends, times in way.moves.items())
    for task, times in way.waits.items():
        option = chosen[task]
        total += times * option.wait_s + way.work[task] * (option.latency_s - option.wait_s)
    return total


def _farthest_s(edges: list[tuple[Event, Event, float]], event: Event) -> float:
    return max((edge_s + _farthest_s(edges, to) for from_, to, edge_s in edges if from_ == event), default=0.0)
