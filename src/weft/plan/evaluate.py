"""What a choice of options costs and how long it takes: no decision, only arithmetic."""

import math
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

from weft.core.units import HOUR_S
from weft.plan.problem import Block, Handoff, Objective, Option, Placement, PlacementProblem, PoolSpec, whole_replicas

Choice = Mapping[str, Option]
"""Task name → chosen option."""


@dataclass(frozen=True, slots=True)
class Proof:
    """What the solver says of its answer: the relative gap to the best bound, and the time it took."""

    gap: float
    solve_s: float


def placement(problem: PlacementProblem, choice: Choice, proof: Proof) -> Placement:
    replicas = replicas_of(problem, choice)
    e2e_s = end_to_end_s(problem, choice)
    slack_s = max(0.0, e2e_s - (math.inf if problem.e2e_limit_s is None else problem.e2e_limit_s))
    fleet_usd = sum(pool.usd_per_hour * count for pool, count in replicas.items())
    moved_usd = _usd_per_visit(problem, choice)
    usd_per_hour = fleet_usd + HOUR_S * problem.rate_per_s * moved_usd
    usd_per_request = _occupied_usd(problem, choice) + moved_usd
    cost = usd_per_hour if problem.objective is Objective.USD_PER_HOUR else usd_per_request
    return Placement(
        choice={task: option.name for task, option in choice.items()},
        replicas={pool.name: count for pool, count in replicas.items()},
        objective=cost + penalty_weight(problem) * slack_s,
        usd_per_hour=usd_per_hour,
        usd_per_request=usd_per_request,
        e2e_s=e2e_s,
        slack_s=slack_s,
        gap=proof.gap,
        solve_s=proof.solve_s,
    )


def penalty_weight(problem: PlacementProblem) -> float:
    """Dollars in the unit of the objective for each second that a request is late."""
    per_request = problem.penalty_usd_per_s or 0.0
    return per_request * HOUR_S * problem.rate_per_s if problem.objective is Objective.USD_PER_HOUR else per_request


def replicas_of(problem: PlacementProblem, choice: Choice) -> dict[PoolSpec, int]:
    loads: defaultdict[PoolSpec, float] = defaultdict(float)
    for task in problem.tasks:
        loads[choice[task.name].pool] += problem.load(task, choice[task.name])
    return {pool: whole_replicas(load) for pool, load in loads.items()}


def end_to_end_s(problem: PlacementProblem, choice: Choice) -> float:
    inside_s = sum(block.visits * block_s(problem, block, choice) for block in problem.blocks if block.visits)
    return inside_s + sum(handoff.visits * _handoff_s(handoff, choice) for handoff in problem.between)


def block_s(problem: PlacementProblem, block: Block, choice: Choice) -> float:
    """The block's longest path, hand-offs included."""
    done_s: dict[str, float] = {}
    for task in problem.order(block):
        arrivals = [
            done_s[handoff.source] + _handoff_s(handoff, choice)
            for handoff in problem.inside(block)
            if handoff.target == task
        ]
        done_s[task] = max(arrivals, default=0.0) + choice[task].latency_s
    return max(done_s.values(), default=0.0)


def _handoff_s(handoff: Handoff, choice: Choice) -> float:
    return handoff.latency_of(choice[handoff.source], choice[handoff.target])


def _occupied_usd(problem: PlacementProblem, choice: Choice) -> float:
    return sum(occupied_usd(problem, task.visits, choice[task.name]) for task in problem.tasks)


def occupied_usd(problem: PlacementProblem, visits: float, option: Option) -> float:
    """Replica time that a request occupies in this option, at the allowed utilisation."""
    return visits * option.busy_s / problem.max_utilisation * option.pool.usd_per_hour / HOUR_S


def _usd_per_visit(problem: PlacementProblem, choice: Choice) -> float:
    """What a request pays by the visit: options with such a price, and bytes moved."""
    visits_usd = sum(task.visits * choice[task.name].usd_per_visit for task in problem.tasks)
    moved_usd = sum(
        handoff.visits * handoff.usd_of(choice[handoff.source], choice[handoff.target]) for handoff in problem.handoffs
    )
    return visits_usd + moved_usd
