"""The rows of the formulation, in the order and under the numbers of the package's docstring."""

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from weft.plan.formulation.courses import bound_courses, missing_share, open_courses
from weft.plan.formulation.sums import (
    Terms,
    chunk,
    course_time,
    first_chunk,
    joules,
    latency,
    negative,
    purchases,
    seconds,
    way_time,
)
from weft.plan.formulation.variables import PortVariables, Variables, moving
from weft.plan.lp import LinearModel
from weft.plan.problem import ROUNDING, Block, Handoff, PlacementProblem, PoolSpec, whole_replicas
from weft.plan.promises import SAME_SHARE, Course, Promise


@dataclass(frozen=True, slots=True)
class PricedRows:
    """Rows of one limit, which has a price. `unit`: one more of the limit moves the rows' bounds by 1 / unit."""

    rows: tuple[int, ...]
    unit: float = 1.0


def constrain(model: LinearModel, of: Variables, *, tight: bool) -> Mapping[str, PricedRows]:
    """Adds all rows; gives those whose price is asked for: (4) by device class, (9) by promise, (12) by link."""
    for variables in of.x.values():
        model.row([(variable, 1.0) for variable in variables], lower=1.0, upper=1.0)  # (1)
    _replicas(model, of, tight=tight)
    row_of = _inventory(model, of)
    for handoff, ports in of.y:
        _handoff(model, of, handoff, ports)
    for block in of.problem.blocks:
        _paths(model, of, block)
    for promise in of.problem.all_promises:
        row_of[promise.name] = PricedRows(tuple(_promise(model, of, promise)))
    _budgets(model, of)
    return row_of | _links(model, of)


def _replicas(model: LinearModel, of: Variables, *, tight: bool) -> None:
    loads: defaultdict[PoolSpec, list[tuple[int, tuple[float, float, float]]]] = defaultdict(list)
    for task, option, variable in of.assignments():
        loads[option.pool].append((variable, of.problem.loads(task, option)))
    for pool, terms in loads.items():
        replicas = of.n[pool]
        for variable, load in terms if tight else _idle(terms):
            model.row([(replicas, 1.0), (variable, -least_replicas(of.problem, max(load)))], lower=0.0)  # (2)
        if len(terms) > 1 or of.problem.split or not tight:
            for kind in range(3) if math.isfinite(pool.network_bytes_per_s) else (0,):
                model.row([(replicas, 1.0), *((each, -load[kind]) for each, load in terms)], lower=0.0)  # (3)


def _idle(terms: list[tuple[int, tuple[float, float, float]]]) -> list[tuple[int, tuple[float, float, float]]]:
    """Options that load their pool so little that (3) alone would give them no replica."""
    return [(variable, load) for variable, load in terms if max(load) <= ROUNDING]


def least_replicas(problem: PlacementProblem, load: float) -> float:
    """Of a pool that one option in use loads so much."""
    return 1.0 if problem.split else float(whole_replicas(load))


def _inventory(model: LinearModel, of: Variables) -> dict[str, PricedRows]:
    used: defaultdict[str, Terms] = defaultdict(list)
    for pool, variable in of.n.items():
        used[pool.device_class].append((variable, float(pool.devices_per_replica)))
    row_of: dict[str, PricedRows] = {}
    for device_class, count in of.problem.inventory.items():
        model.row([*used[device_class], (of.excess[device_class], -1.0)], upper=float(count))  # (4)
        row_of[device_class] = PricedRows((model.last_row,))
    return row_of


def _handoff(model: LinearModel, of: Variables, handoff: Handoff, ports: PortVariables) -> None:
    leaving, entering = (_by_port(of, handoff, end) for end in (handoff.source, handoff.target))
    for a, chosen in leaving.items():
        _balance(model, [ports[a, b] for b in entering], chosen)  # (5)
    for b, chosen in entering.items():
        _balance(model, [ports[a, b] for a in leaving], chosen)  # (6)
    if handoff.tied:
        _ties(model, of, handoff)


def _by_port(of: Variables, handoff: Handoff, end: str) -> dict[str, list[int]]:
    places = moving(of.problem.task(end), handoff)
    return {port: [of.x[end][at] for at in found] for port, found in places.items()}


def _ties(model: LinearModel, of: Variables, handoff: Handoff) -> None:
    ends = [_by_tie(of, handoff.source), _by_tie(of, handoff.target)]
    for tie in dict.fromkeys([*ends[0], *ends[1]]):
        _balance(model, *(end.get(tie, []) for end in ends))  # (6t)


def _by_tie(of: Variables, task: str) -> dict[str, list[int]]:
    ties: defaultdict[str, list[int]] = defaultdict(list)
    for option, variable in of.options(task):
        if option.tie:
            ties[option.tie].append(variable)
    return ties


def _balance(model: LinearModel, left: list[int], right: list[int]) -> None:
    terms = [*((variable, 1.0) for variable in left), *((variable, -1.0) for variable in right)]
    model.row(terms, lower=0.0, upper=0.0)


def _paths(model: LinearModel, of: Variables, block: Block) -> None:
    for way in block.ways:
        model.row([(of.block_time[block.name], 1.0), *negative(way_time(of, way))], lower=0.0)  # (8w)
    if block.ways:
        return
    for task in block.tasks:
        done, begun = of.completion[task], [(of.start[task], -1.0)] if task in of.start else []
        model.row([(done, 1.0), *begun, *negative(latency(of, task))], lower=0.0)  # (7), nothing to wait for; (7s)
        model.row([(of.block_time[block.name], 1.0), (done, -1.0)], lower=0.0)  # (8)
    for handoff, ports in of.y:
        if handoff.block == block.name:
            _wait(model, of, handoff, seconds(handoff, ports))


def _wait(model: LinearModel, of: Variables, handoff: Handoff, moved: Terms) -> None:
    ready, done = of.completion[handoff.source], of.completion[handoff.target]
    begun = of.start.get(handoff.target)
    if begun is None:
        delays = [*moved, *latency(of, handoff.target)]
        model.row([(done, 1.0), (ready, -1.0), *negative(delays)], lower=0.0)  # (7)
    elif not handoff.streams:
        model.row([(begun, 1.0), (ready, -1.0), *negative(moved)], lower=0.0)  # (7s)
    else:
        first = [*moved, *first_chunk(of, handoff.source, handoff.chunks)]
        last = [*moved, *chunk(of, handoff.target, handoff.chunks)]
        model.row([(begun, 1.0), (of.start[handoff.source], -1.0), *negative(first)], lower=0.0)  # (7f)
        model.row([(done, 1.0), (ready, -1.0), *negative(last)], lower=0.0)  # (7l)


def _promise(model: LinearModel, of: Variables, promise: Promise) -> Iterator[int]:
    late = (of.slack[promise.name], -1.0)
    for course in bound_courses(promise):
        time = course_time(of, course, with_tails=promise.with_tails)
        model.row([*time, late], upper=promise.limit_s)  # (9)
        yield model.last_row
    chosen = of.on_time[promise.name]
    for course, variable in zip(open_courses(promise), chosen, strict=True):
        time = course_time(of, course, with_tails=promise.with_tails)
        most_s = _most_s(of, course)
        model.row([*time, late, (variable, most_s)], upper=promise.limit_s + most_s)  # (9z)
        yield model.last_row
    if chosen:
        likely = [(z, course.probability) for z, course in zip(chosen, open_courses(promise), strict=True)]
        model.row(likely, lower=missing_share(promise) - SAME_SHARE)  # (9p)


def _most_s(of: Variables, course: Course) -> float:
    """More than the course can take: one step after the other, each at its slowest."""
    problem = of.problem
    slowest_s = {task.name: max(o.latency_s + o.tail_s for o in task.options) for task in problem.tasks if task.options}
    inside_s = {block.name: _slowest_s(block, slowest_s) for block in problem.blocks}
    between_s = 0.0
    for handoff, ports in of.y:
        delay_s = max((each for _, each in seconds(handoff, ports)), default=0.0)
        if handoff.block is None:
            between_s += course.moves.get((handoff.source, handoff.target), 0.0) * delay_s
        else:
            inside_s[handoff.block] += delay_s
    return between_s + sum(times * inside_s[block] for block, times in course.visits.items())


def _slowest_s(block: Block, task_s: Mapping[str, float]) -> float:
    """Without hand-offs."""
    if not block.ways:
        return sum(task_s.get(task, 0.0) for task in block.tasks)
    return max(
        sum(max(times, way.work[task]) * task_s.get(task, 0.0) for task, times in way.waits.items())
        for way in block.ways
    )


def _budgets(model: LinearModel, of: Variables) -> None:
    if of.problem.energy_limit_j is not None:
        model.row(joules(of), upper=of.problem.energy_limit_j)  # (10)
    if of.problem.budget_usd is not None:
        model.row(purchases(of, 1e-3), upper=of.problem.budget_usd * 1e-3)  # (11)


def _links(model: LinearModel, of: Variables) -> dict[str, PricedRows]:
    """In capacities, so that terabytes and kilobytes are kept with one tolerance."""
    carried: dict[str, Terms] = {link: [] for link in of.problem.link_bytes_per_s}
    for handoff, ports in of.y:
        moved_per_s = of.problem.rate_per_s / of.problem.link_utilisation * handoff.visits
        for pair, link in handoff.link.items():
            if pair in ports:
                carried[link].append((ports[pair], moved_per_s * handoff.bytes_per_visit.get(pair, 0.0)))
    row_of: dict[str, PricedRows] = {}
    for link, terms in carried.items():
        capacity = of.problem.link_bytes_per_s[link]
        unit = max(capacity, 1.0)
        in_units = [(variable, load / unit) for variable, load in terms]
        model.row([*in_units, (of.congestion[link], -1.0)], upper=capacity / unit)  # (12)
        row_of[link] = PricedRows((model.last_row,), unit)
    return row_of
