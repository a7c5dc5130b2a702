"""A plan as it would be if its devices took as long as they were measured to: what is there, before it is planned anew.

Of a pool that serves whole calls each phase is stretched by its own factor; what prompts cost the decodes among them is
left to the next plan.
"""

from collections.abc import Mapping
from dataclasses import replace

from weft.core.deployment import Deployment, Pool, Route
from weft.core.pace import DECODE, PHASES, PREFILL, Pace, pace_key
from weft.core.program import StepKind

_PHASE = {StepKind.PREFILL: PREFILL, StepKind.DECODE: DECODE}


def modelled(plan: Deployment, pool: Pool) -> Pace | None:
    """Of the pool, by the cost model alone; None: it runs no model."""
    if pool.engine is None or pool.model is None:
        return None
    prefill, decode = (plan.measured.get(pace_key(pool.model, pool.device, phase), 1.0) for phase in PHASES)
    return pool.engine.pace.stretched(1 / prefill, 1 / decode)


def as_measured(plan: Deployment, factors: Mapping[str, float]) -> Deployment:
    """`factors` by core.pace.pace_key, times the cost model's; what is missing takes the model's time."""
    news = _News(plan, factors)
    if all(ratio == 1.0 for ratio in news.ratios.values()):
        return plan
    return replace(
        plan,
        pools=tuple(news.pool(pool) for pool in plan.pools),
        routes=tuple(news.route(route) for route in plan.routes),
        measured=dict(factors),
    )


class _News:
    """`ratios`: what is measured now, beside what the plan counted on."""

    def __init__(self, plan: Deployment, factors: Mapping[str, float]) -> None:
        self._plan = plan
        self._phases = {step.name: _PHASE[step.kind] for step in plan.program.steps if step.kind in _PHASE}
        counted = plan.measured
        self.ratios = {key: factors.get(key, 1.0) / counted.get(key, 1.0) for key in {*factors, *counted}}

    def pool(self, pool: Pool) -> Pool:
        if pool.engine is None or pool.model is None:
            return pool
        paced = pool.engine.pace.stretched(*(self._ratio(pool, phase) for phase in PHASES))
        return replace(pool, engine=replace(pool.engine, pace=paced), utilisation=pool.utilisation * self._busier(pool))

    def route(self, route: Route) -> Route:
        pool, phase = self._plan.pool(route.pool), self._phases.get(route.step)
        if phase is None or pool.model is None:
            return route
        ratio = self._ratio(pool, phase)
        start_s = 0.0 if pool.engine is None or phase == DECODE else min(pool.engine.start_s, route.latency_s)
        latency_s = start_s + ratio * (route.latency_s - start_s)
        return replace(
            route,
            latency_s=latency_s,
            wait_s=ratio * route.wait_s,
            low_s=route.low_s * latency_s / route.latency_s if route.latency_s else route.low_s,
            high_s=route.high_s * latency_s / route.latency_s if route.latency_s else route.high_s,
            s_per_input_token=ratio * route.s_per_input_token,
            s_per_output_token=ratio * route.s_per_output_token,
        )

    def _ratio(self, pool: Pool, phase: str) -> float:
        return 1.0 if pool.model is None else self.ratios.get(pace_key(pool.model, pool.device, phase), 1.0)

    def _busier(self, pool: Pool) -> float:
        """By the time that a run spends in each phase there."""
        spent = [
            (route.visits * route.latency_s, self._ratio(pool, phase))
            for route in self._plan.routes
            if route.pool == pool.name and (phase := self._phases.get(route.step)) is not None
        ]
        whole_s = sum(seconds for seconds, _ in spent)
        return sum(seconds * ratio for seconds, ratio in spent) / whole_s if whole_s else 1.0
