"""Does the plan hold if the cost model is wrong? Each accelerator in turn is faster or slower than thought.

A scenario scales the time of all options of one family. `flips` says that another plan would be best there; `regret`
is what the present plan costs beyond it. The robust plan is the one of all scenarios' best plans whose dearest scenario
is cheapest, and that keeps every limit in all of them.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

from weft.core.errors import PlanError
from weft.plan.build import Planned
from weft.plan.evaluate import Proof, placement, whole
from weft.plan.options import Candidate
from weft.plan.problem import Option, Placement, PlacementProblem, Task
from weft.plan.requests import LeafTask, PlanRequest, TaskKind
from weft.plan.solve import solve

ERROR = 0.2
TOLERANCE = 1e-6


@dataclass(frozen=True, slots=True)
class Scenario:
    """One family `factor` times as slow as thought. `kept`: the cost there of the plan at hand, None if it breaks a
    limit; `best`: that of the plan one would make there, None if there is none."""

    family: str
    factor: float
    kept: float | None
    best: float | None
    flips: bool


@dataclass(frozen=True, slots=True)
class Sensitivity:
    """`worst`: the cost of the robust plan in its dearest scenario; None where no plan keeps all limits in all."""

    scenarios: tuple[Scenario, ...]
    robust: Placement | None
    worst: float | None


def sensitivity(request: PlanRequest, planned: Planned, found: Placement, error: float = ERROR) -> Sensitivity:
    """Families in the plan are varied both ways, others only faster: slower ones would not be chosen either."""
    families = {option.pool.family for task in planned.problem.tasks for option in task.options} - {None}
    mine = {planned.candidates[task][name].option.pool.family for task, name in found.choice.items()}
    factors = [(name, factor) for name in sorted(map(str, families)) for factor in (1 - error, 1 + error)]
    worlds = {
        (family, factor): _scaled(request, planned, family, factor)
        for family, factor in factors
        if factor < 1 or family in mine
    }
    plans = {key: _solved(world) for key, world in worlds.items()}
    scenarios = tuple(_scenario(key, worlds[key], found, plans[key]) for key in worlds)
    robust, worst = _robust([planned.problem, *worlds.values()], [found, *(each for each in plans.values() if each)])
    return Sensitivity(scenarios, robust, worst)


def _scenario(key: tuple[str, float], world: PlacementProblem, found: Placement, best: Placement | None) -> Scenario:
    kept = cost_of(world, found.choice)
    flips = best is not None and (math.isinf(kept) or best.objective < kept * (1 - TOLERANCE))
    return Scenario(*key, _finite(kept), best.objective if best else None, flips)


def _robust(worlds: list[PlacementProblem], plans: list[Placement]) -> tuple[Placement | None, float | None]:
    worst = [(max(cost_of(world, plan.choice) for world in worlds), at) for at, plan in enumerate(plans)]
    cost, at = min(worst)
    return (None, None) if math.isinf(cost) else (plans[at], cost)


def cost_of(problem: PlacementProblem, choice: Mapping[str, str]) -> float:
    """The cost of a given choice; infinite where it breaks a limit or an option is no longer there."""
    options = {
        task.name: next((o for o in task.options if o.name == choice[task.name]), None) for task in problem.tasks
    }
    present = {name: option for name, option in options.items() if option}
    if len(present) < len(options):
        return math.inf
    decision = whole(problem, present)
    if any(math.isinf(move.latency_s) for move in decision.moves):
        return math.inf
    answer = placement(problem, decision, Proof(0.0, 0.0))
    return answer.objective if keeps_limits(problem, answer) else math.inf


def keeps_limits(problem: PlacementProblem, answer: Placement) -> bool:
    pools = {option.pool.name: option.pool for task in problem.tasks for option in task.options}
    devices: dict[str, int] = {}
    for name, count in answer.replicas.items():
        pool = pools[name]
        devices[pool.device_class] = devices.get(pool.device_class, 0) + count * pool.devices_per_replica
    stocked = all(
        count <= problem.inventory.get(name, count) or name in problem.market for name, count in devices.items()
    )
    hard = [each for each in problem.all_promises if each.hard]
    in_time = all(answer.promised_s[each.name] <= each.limit_s + TOLERANCE for each in hard)
    cool = problem.energy_limit_j is None or answer.joules_per_request <= problem.energy_limit_j + TOLERANCE
    paid = problem.budget_usd is None or answer.usd_to_buy <= problem.budget_usd + TOLERANCE
    carried = all(
        use <= problem.link_utilisation * problem.link_bytes_per_s[link] * (1 + TOLERANCE)
        for link, use in answer.link_use.items()
    )
    return stocked and in_time and cool and paid and carried


def _scaled(request: PlanRequest, planned: Planned, family: str, factor: float) -> PlacementProblem:
    def scaled(task: Task) -> Task:
        return _scaled_task(request, request.task(task.name), task, planned.candidates[task.name], family, factor)

    return replace(planned.problem, tasks=tuple(scaled(task) for task in planned.problem.tasks))


def _scaled_task(
    request: PlanRequest, leaf: LeafTask, task: Task, candidates: Mapping[str, Candidate], family: str, factor: float
) -> Task:
    """Options that miss their step's objective there are gone."""
    slo = request.slo_of(leaf)
    limit_s = {TaskKind.PREFILL: slo.ttft_s, TaskKind.DECODE: slo.tpot_s}.get(leaf.kind)
    kept: list[Option] = []
    for option in task.options:
        times = factor if option.pool.family == family else 1.0
        if limit_s is None or candidates[option.name].objective_s * times <= limit_s:
            slower = {"latency_s": option.latency_s * times, "busy_s": option.busy_s * times}
            kept.append(replace(option, **slower, joules_per_visit=option.joules_per_visit * times))
    return replace(task, options=tuple(kept))


def _solved(problem: PlacementProblem) -> Placement | None:
    try:
        return solve(problem) if all(task.options for task in problem.tasks) else None
    except PlanError:
        return None


def _finite(cost: float) -> float | None:
    return None if math.isinf(cost) else cost
