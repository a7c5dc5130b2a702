"""How much a pool of n replicas carries, for n = 1, 2, …: what scaling reads instead of one limit for all sizes.

A replica of many may be busier than one alone, and one whose plan leaves time may be busier than one whose does not.
So a pool carries the rate at which its waits still leave the objective its time:

    rate / s = n · ρ / (replica seconds of a run),   ρ the most with  ρ ≤ limit,  TAIL · wait_s(n · b, ρ, S) ≤ time left

with b places a replica that a visit of S seconds takes (plan.queueing). Time left is what the objective gives a step
beyond its own time, at least the wait that the plan itself counted on.
"""

from collections.abc import Iterator, Mapping

from weft.core.deployment import Deployment, Pool, Route
from weft.core.program import Step, StepKind
from weft.plan.measured import as_measured
from weft.plan.queueing import wait_s
from weft.policy.scaling import Scaling, ScalingConfig

TAIL = 4.0
"""Times the mean wait that 95 of 100 take at most, those that do not wait included: seen in simulation, for one replica
and several (tests/plan/test_staffing.py)."""

HALVINGS = 30


def scaling_of(deployment: Deployment, config: ScalingConfig) -> Scaling:
    """The scaling policy of a plan: what drives live and simulated fleets."""
    return Scaling(deployment, config, carried_per_s(deployment, config.utilisation, config.most))


def restaff(scaling: Scaling, deployment: Deployment, factors: Mapping[str, float]) -> None:
    """For devices as they were measured (plan.measured)."""
    there, config = as_measured(deployment, factors), scaling.config
    scaling.staff(there, carried_per_s(there, config.utilisation, config.most))


def carried_per_s(deployment: Deployment, limit: float, most: int) -> Mapping[str, tuple[float, ...]]:
    """Pool → runs a second that 1, 2, … `most` replicas carry, each at most `limit` full. Pools without a model are
    limited by that alone: what they wait for is not in their routes."""
    return {
        pool.name: tuple(_carried(deployment, pool, count, limit) for count in range(1, most + 1))
        for pool in deployment.pools
    }


def _carried(deployment: Deployment, pool: Pool, count: int, limit: float) -> float:
    replica_s = pool.replicas * pool.utilisation / deployment.workload.rate_per_s
    if replica_s <= 0:
        return float("inf")
    bounds = list(_bounds(deployment, pool)) if pool.model is not None else []
    low, high = 0.0, limit
    if not _holds(bounds, count * pool.batch_limit, high):
        for _ in range(HALVINGS):
            middle = (low + high) / 2
            low, high = (middle, high) if _holds(bounds, count * pool.batch_limit, middle) else (low, middle)
        high = low
    return count * high / replica_s


def _holds(bounds: list[tuple[float, float]], places: int, busy: float) -> bool:
    return all(TAIL * float(wait_s(places, busy, visit_s)) <= left_s for visit_s, left_s in bounds)


def _bounds(deployment: Deployment, pool: Pool) -> Iterator[tuple[float, float]]:
    """Of each step there that the objective bounds: seconds of a visit, and seconds that it may wait in the tail."""
    steps = {step.name: step for step in deployment.program.steps}
    for route in deployment.routes:
        if route.pool == pool.name and (left_s := _left_s(deployment, steps[route.step], route)) is not None:
            yield route.latency_s, max(left_s, TAIL * route.wait_s)


def _left_s(deployment: Deployment, step: Step, route: Route) -> float | None:
    slo = deployment.slo
    if step.kind is StepKind.PREFILL and slo.ttft_s is not None:
        return slo.ttft_s - route.latency_s
    if step.kind is StepKind.DECODE and slo.tpot_s is not None:
        gaps = max(0.0, float(step.attributes.get("osl", 1)) - 1)
        return gaps * (slo.tpot_s - route.s_per_output_token)
    return None
