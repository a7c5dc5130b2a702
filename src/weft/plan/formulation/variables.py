"""The variables of the formulation: one declaration each, in the order in which the solver numbers them."""

import math
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from weft.plan.formulation.courses import open_courses
from weft.plan.lp import LinearModel
from weft.plan.problem import Handoff, Option, PlacementProblem, PoolSpec, Task

PortVariables = dict[tuple[str, str], int]


@dataclass(frozen=True, slots=True)
class Variables:
    """Numbers of the model's variables. `x`: task → one for each of its options; `n`: replicas by pool; `excess`:
    devices beyond the inventory by class; `y`: each hand-off with its pairs of ports; `completion` by task, `start` by
    task at an end of a stream,
    `block_time` by block; `slack`: seconds late by promise; `on_time`: promise → one for each of its
    courses, where the solver must choose which are; `congestion` by link: load beyond its capacity, in capacities."""

    problem: PlacementProblem
    x: dict[str, list[int]]
    n: dict[PoolSpec, int]
    excess: dict[str, int]
    y: list[tuple[Handoff, PortVariables]]
    completion: dict[str, int]
    start: dict[str, int]
    block_time: dict[str, int]
    slack: dict[str, int]
    on_time: dict[str, list[int]]
    congestion: dict[str, int]

    def assignments(self) -> Iterable[tuple[Task, Option, int]]:
        for task in self.problem.tasks:
            for option, variable in zip(task.options, self.x[task.name], strict=True):
                yield task, option, variable

    def options(self, task: str) -> Iterable[tuple[Option, int]]:
        return zip(self.problem.task(task).options, self.x[task], strict=True)


def declared(problem: PlacementProblem, model: LinearModel) -> Variables:
    x = {task.name: [model.variable(1.0, integer=not problem.split) for _ in task.options] for task in problem.tasks}
    pools = dict.fromkeys(option.pool for task in problem.tasks for option in task.options)
    n = {pool: model.variable(integer=True) for pool in pools}
    excess = {name: model.variable(math.inf if name in problem.market else 0.0) for name in problem.inventory}
    y = [(handoff, _pairs(problem, handoff, model)) for handoff in problem.handoffs]
    completion: dict[str, int] = {}
    block_time: dict[str, int] = {}
    for block in problem.blocks:
        block_time[block.name] = model.variable()
        completion |= {task: model.variable() for task in block.tasks if not block.ways}
    streaming = [end for each in problem.handoffs if each.streams for end in (each.source, each.target)]
    start = {task: model.variable() for task in dict.fromkeys(streaming)}
    promises = problem.all_promises
    slack = {each.name: model.variable(0.0 if each.hard else math.inf) for each in promises}
    open_ = {each.name: open_courses(each) for each in promises}
    on_time = {name: [model.variable(1.0, integer=True) for _ in found] for name, found in open_.items()}
    congestion = {link: model.variable(0.0) for link in problem.link_bytes_per_s}
    return Variables(problem, x, n, excess, y, completion, start, block_time, slack, on_time, congestion)


def _pairs(problem: PlacementProblem, handoff: Handoff, model: LinearModel) -> PortVariables:
    leaving, entering = (moving(problem.task(end), handoff) for end in (handoff.source, handoff.target))
    return {(a, b): model.variable(_most(handoff, (a, b))) for a in leaving for b in entering}


def _most(handoff: Handoff, pair: tuple[str, str]) -> float:
    return 0.0 if math.isinf(handoff.latency_s.get(pair, 0.0)) else 1.0


def moving(task: Task, handoff: Handoff) -> dict[str, list[int]]:
    """Port → places of the task's options whose traffic moves over this hand-off: all but tied ones."""
    ports: defaultdict[str, list[int]] = defaultdict(list)
    for at, option in enumerate(task.options):
        if not (handoff.tied and option.tie):
            ports[option.port].append(at)
    return ports
