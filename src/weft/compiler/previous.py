"""An earlier plan as the start of a new one: which of today's options each step had, and what has become of it."""

from collections.abc import Mapping

from weft.catalog.plans import read_plan
from weft.core.deployment import Deployment, Pool
from weft.core.errors import InputError
from weft.plan.build import Planned
from weft.plan.options import Candidate
from weft.plan.requests import PlanRequest


def read_previous(path: str, agent: str) -> Deployment:
    """It may be stale: planning again is the cure. Refused where it is another agent's."""
    plan = read_plan(path)
    if plan.agent != agent:
        raise InputError(
            subject=path,
            problem=f"is a plan of the agent {plan.agent!r}, this one is {agent!r}",
            way_out="give a plan of the same agent, or plan without --from",
        )
    return plan


def previous_choice(plan: Deployment, request: PlanRequest, planned: Planned) -> Mapping[str, str]:
    """Task → the option that it had; without tasks and options that are no more."""
    pools = {route.step: plan.pool(route.pool) for route in plan.routes}
    calls = [(flow.source, flow.target) for flow in request.flows if flow.carries_kv]
    joined = dict([*calls, *((target, source) for source, target in calls)])
    chosen: dict[str, str] = {}
    for task, candidates in planned.candidates.items():
        pool, other = pools.get(task), pools.get(joined.get(task, ""))
        serves_both = pool is not None and other is not None and pool.name == other.name
        for name, candidate in candidates.items():
            if pool is not None and _is(candidate, pool) and bool(candidate.option.tie) == serves_both:
                chosen.setdefault(task, name)
    return chosen


def _is(candidate: Candidate, pool: Pool) -> bool:
    model = candidate.model.id if candidate.model and candidate.precision else None
    mine = candidate.group.device.id, candidate.group.zone, candidate.parallelism, candidate.batch, model
    same = mine == (pool.device, pool.zone, pool.parallelism, pool.batch_limit, pool.model)
    return same and candidate.precision == pool.precision
