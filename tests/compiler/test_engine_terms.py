"""The paces that a Deployment carries are the times that the planner assumed."""

from itertools import pairwise

import pytest

from weft import catalog
from weft.compiler.pipeline import compile_agent
from weft.compiler.request import CompileRequest, Needs, Rules
from weft.core.deployment import Deployment
from weft.core.pace import Pace
from weft.cost.pace import decode_s, prompt_s
from weft.cost.steps import Engine
from weft.estimate.coefficients import coefficients
from weft.estimate.read import twin
from weft.plan.served import PREFILL, SERVER, Replica, Sizes, Software, served
from weft.sim.simulate import simulate
from weft.traces.request import Request


@pytest.fixture(scope="module")
def deployment() -> Deployment:
    return compile_agent(
        CompileRequest("examples/voice_agent.py", Needs(rate_per_s=50.0), rules=Rules(serving="disaggregated"))
    )


def pace_of(deployment: Deployment, step: str) -> tuple[Pace, int]:
    pool = deployment.pool(deployment.route(step).pool)
    assert pool.engine is not None
    return pool.engine.pace, pool.batch_limit


def sizes(deployment: Deployment, step: str) -> tuple[int, int]:
    found = next(each for each in deployment.program.steps if each.name == step).attributes
    return int(found["isl"]), int(found["osl"])


def test_a_full_batch_decodes_at_the_planned_time(deployment: Deployment) -> None:
    (pace, batch), (isl, osl) = pace_of(deployment, "think.decode"), sizes(deployment, "think.decode")
    planned_s = deployment.route("think.decode").latency_s / (osl - 1)
    assert decode_s(pace, batch, batch * (isl + osl / 2)).item() == pytest.approx(planned_s, rel=pace.error + 1e-6)


@pytest.mark.parametrize("serving", ["disaggregated", "aggregated"])
def test_a_call_by_itself_has_the_ttft_of_the_estimate(deployment: Deployment, serving: str) -> None:
    """Simulated on the plan, and as `weft estimate` prices the same replica at concurrency 1."""
    if serving == "aggregated":
        deployment = compile_agent(
            CompileRequest("examples/voice_agent.py", Needs(rate_per_s=50.0), rules=Rules(serving=serving))
        )
    pool = deployment.pool(deployment.route("think.prefill").pool)
    assert pool.engine is not None and pool.model is not None and pool.precision is not None
    known, model = coefficients(), catalog.model(pool.model)
    device, kind = catalog.device(pool.device), SERVER if serving == "aggregated" else PREFILL
    engine = Engine(model, device, pool.parallelism, pool.precision, efficiency=known.efficiency(device.id))
    size = Sizes(*sizes(deployment, "think.decode"))
    software = Software("", "", known.habits, known.bands, {model.id: twin(model)})
    estimate = served([Replica(engine, kind, size, (1,), size)], software, known.efficiencies)[0].ttft_s.item()
    simulated = simulate(deployment, [Request(0.0)]).summary.calls[0].ttft_s.max
    assert simulated == pytest.approx(estimate, rel=max(pool.engine.pace.error, 1e-6))


def test_prompts_keep_an_engine_busy_for_less_than_clients_wait(deployment: Deployment) -> None:
    """What is left is the server's start of a request, which holds no engine up."""
    (pace, batch), (isl, _) = pace_of(deployment, "think.prefill"), sizes(deployment, "think.prefill")
    busy_s = [prompt_s(pace, prompts * isl, prompts * isl * isl / 2).item() for prompts in range(1, batch + 1)]
    assert all(fewer < more for fewer, more in pairwise(busy_s))
    assert 0.3 < busy_s[-1] / deployment.route("think.prefill").latency_s < 1
