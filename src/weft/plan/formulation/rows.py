"""The rows of the formulation, in the order and under the numbers of the package's docstring."""

import math
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

from weft.plan.formulation.sums import (
    Terms,
    end_to_end,
    joules,
    latency,
    negative,
    purchases,
    seconds,
)
from weft.plan.formulation.variables import PortVariables, Variables, moving
from weft.plan.lp import LinearModel
from weft.plan.problem import Block, Handoff, PlacementProblem, PoolSpec, whole_replicas

E2E = "e2e_s"


@dataclass(frozen=True, slots=True)
class PricedRow:
    """A row whose limit has a price. `unit`: one more of the limit moves the row's bound by 1 / unit."""

    row: int
    unit: float = 1.0


def constrain(model: LinearModel, of: Variables, *, tight: bool) -> Mapping[str, PricedRow]:
    """Adds all rows; gives those whose price is asked for: (4) by device class, (9) as `E2E`, (12) by link."""
    for variables in of.x.values():
        model.row([(variable, 1.0) for variable in variables], lower=1.0, upper=1.0)  # (1)
    _replicas(model, of, tight=tight)
    row_of = _inventory(model, of)
    for handoff, ports in of.y:
        _handoff(model, of, handoff, ports)
    for block in of.problem.blocks:
        _paths(model, of, block)
    if of.problem.e2e_limit_s is not None:
        model.row([*end_to_end(of), (of.slack, -1.0)], upper=of.problem.e2e_limit_s)  # (9)
        row_of[E2E] = PricedRow(model.last_row)
    _budgets(model, of)
    return row_of | _links(model, of)


def _replicas(model: LinearModel, of: Variables, *, tight: bool) -> None:
    loads: defaultdict[PoolSpec, list[tuple[int, tuple[float, float, float]]]] = defaultdict(list)
    for task, option, variable in of.assignments():
        loads[option.pool].append((variable, of.problem.loads(task, option)))
    for pool, terms in loads.items():
        replicas = of.n[pool]
        for variable, load in terms if tight else ():
            model.row([(replicas, 1.0), (variable, -_whole(of.problem, max(load)))], lower=0.0)  # (2)
        if len(terms) > 1 or of.problem.split or not tight:
            for kind in range(3) if math.isfinite(pool.network_bytes_per_s) else (0,):
                model.row([(replicas, 1.0), *((each, -load[kind]) for each, load in terms)], lower=0.0)  # (3)


def _whole(problem: PlacementProblem, load: float) -> float:
    return 1.0 if problem.split else float(whole_replicas(load))


def _inventory(model: LinearModel, of: Variables) -> dict[str, PricedRow]:
    used: defaultdict[str, Terms] = defaultdict(list)
    for pool, variable in of.n.items():
        used[pool.device_class].append((variable, float(pool.devices_per_replica)))
    row_of: dict[str, PricedRow] = {}
    for device_class, count in of.problem.inventory.items():
        model.row([*used[device_class], (of.excess[device_class], -1.0)], upper=float(count))  # (4)
        row_of[device_class] = PricedRow(model.last_row)
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
    for task in block.tasks:
        done = of.completion[task]
        model.row([(done, 1.0), *negative(latency(of, task))], lower=0.0)  # (7), nothing to wait for
        model.row([(of.block_time[block.name], 1.0), (done, -1.0)], lower=0.0)  # (8)
    for handoff, ports in of.y:
        if handoff.block == block.name:
            done, ready = of.completion[handoff.target], of.completion[handoff.source]
            delays = [*seconds(handoff, ports), *latency(of, handoff.target)]
            model.row([(done, 1.0), (ready, -1.0), *negative(delays)], lower=0.0)  # (7)


def _budgets(model: LinearModel, of: Variables) -> None:
    if of.problem.energy_limit_j is not None:
        model.row(joules(of), upper=of.problem.energy_limit_j)  # (10)
    if of.problem.budget_usd is not None:
        model.row(purchases(of, 1e-3), upper=of.problem.budget_usd * 1e-3)  # (11)


def _links(model: LinearModel, of: Variables) -> dict[str, PricedRow]:
    """In capacities, so that terabytes and kilobytes are kept with one tolerance."""
    carried: dict[str, Terms] = {link: [] for link in of.problem.link_bytes_per_s}
    for handoff, ports in of.y:
        moved_per_s = of.problem.rate_per_s / of.problem.max_utilisation * handoff.visits
        for pair, link in handoff.link.items():
            if pair in ports:
                carried[link].append((ports[pair], moved_per_s * handoff.bytes_per_visit.get(pair, 0.0)))
    row_of: dict[str, PricedRow] = {}
    for link, terms in carried.items():
        capacity = of.problem.link_bytes_per_s[link]
        unit = max(capacity, 1.0)
        in_units = [(variable, load / unit) for variable, load in terms]
        model.row([*in_units, (of.congestion[link], -1.0)], upper=capacity / unit)  # (12)
        row_of[link] = PricedRow(model.last_row, unit)
    return row_of
