"""What n replicas carry: within the limit, more for each further one, and in time where the simulator looks."""

from dataclasses import replace

import pytest

from tests.sim.deployments import flat_pace, llm_pool, split_chat
from tests.sim.loads import poisson
from weft.core.deployment import Deployment
from weft.core.workload import Slo, Workload
from weft.plan.staffing import carried_per_s
from weft.sim.simulate import SimConfig, simulate


def chat(prefills: int, rate: float) -> Deployment:
    """One prompt at a time takes 0.5 s, so a run a second fills half of a replica; decoding is never short."""
    pace = flat_pace(token_s=1e-9, fixed_s=0.5)
    prefill = replace(llm_pool("prefill", prefills, pace, batch=1), utilisation=0.5 * rate / prefills)
    decode = replace(llm_pool("decode", 8, flat_pace(1e-4)), utilisation=0.01)
    made = split_chat()
    routes = tuple(replace(route, latency_s=0.5 if route.step.endswith("prefill") else 0.01) for route in made.routes)
    slo = Slo("test", ttft_s=1.5, tpot_s=1.0)
    return replace(made, pools=(prefill, decode), routes=routes, workload=Workload("test", rate), slo=slo)


def test_many_may_be_busier_than_one_alone() -> None:
    carried = carried_per_s(chat(1, 0.5), 0.9, 8)["prefill"]
    each = [rate / count for count, rate in enumerate(carried, 1)]
    assert each == sorted(each) and each[-1] == pytest.approx(1.8)  # as full as the limit allows
    assert carried[0] == pytest.approx(1.0, rel=0.01)  # 4 · ρ/(1 − ρ)/2 · 0.5 s = 1 s at ρ = 1/2


@pytest.mark.parametrize("count", [1, 3])
def test_what_is_carried_is_in_time_in_simulation(count: int) -> None:
    rate = carried_per_s(chat(1, 0.5), 0.9, count)["prefill"][-1]
    outcome = simulate(chat(count, rate), poisson(2000, rate, seed=1), SimConfig())
    assert outcome.summary.in_time > 0.94


def test_a_pool_whose_waits_nobody_bounds_is_limited_by_its_share() -> None:
    plan = replace(chat(2, 2.0), slo=Slo("none"))
    assert carried_per_s(plan, 0.8, 2)["prefill"] == pytest.approx((1.6, 3.2))
