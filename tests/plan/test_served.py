"""The planner prices a pool as `weft estimate` does: value, band and where it comes from."""

import pytest

from tests.compiler.test_pipeline import VOICE
from weft import catalog
from weft.compiler.pipeline import compile_agent, plan_request_of
from weft.compiler.plan_request import software
from weft.compiler.request import Aim, CompileRequest, Needs, Rules, Supply
from weft.core.deployment import Deployment, Parallelism, Pool, Route
from weft.core.errors import WeftError
from weft.core.units import Precision
from weft.cost.points import Point
from weft.cost.steps import Engine
from weft.estimate.coefficients import coefficients, efficiencies
from weft.estimate.price import Priced, price
from weft.plan.build import build
from weft.plan.requests import LeafTask, TaskKind
from weft.plan.served import DECODE, PREFILL, SERVER, Replica, Sizes, served


def priced(what: tuple[str, str, str], engine: str, tp: int, sizes: Sizes, batch: int, kind: str) -> Priced:
    """`what`: model, precision, device."""
    point = Point("", *what, engine, tp, tp, 1, 1, sizes.isl, sizes.osl, batch, kind)
    found = price([point], coefficients())[0]
    assert not isinstance(found, WeftError), found
    return found


@pytest.mark.parametrize("engine", ["", "vllm 0.19", "sglang 0.5"])
@pytest.mark.parametrize("kind", [PREFILL, DECODE, SERVER])
@pytest.mark.parametrize(
    ("model", "device", "precision", "tp"),
    [
        ("llama-3-8b", "a40", "fp16", 1),
        ("llama-3-70b", "h100-sxm", "fp8", 4),
        ("llama-3-70b", "gaudi3", "fp16", 8),
        ("deepseek-r1", "b200", "fp8", 8),
    ],
)
def test_a_replica_is_what_weft_estimate_says(
    model: str, device: str, precision: str, tp: int, kind: str, engine: str
) -> None:
    """Same model, device, format, size, software and sizes, at three batches at once."""
    spec, hardware, sizes = catalog.model(model), catalog.device(device), Sizes(1000, 300)
    known = software(engine, [LeafTask("t", TaskKind.PREFILL, 1.0, spec)])
    efficiency = efficiencies()[hardware.id]
    replica = Engine(spec, hardware, Parallelism(tp=tp), Precision(precision), efficiency=efficiency)
    batches = (1, 4, 16)
    (found,) = served([Replica(replica, kind, sizes, batches, sizes)], known, efficiencies())
    for at, batch in enumerate(batches):
        expected = priced((model, precision, device), engine, tp, sizes, batch, kind)
        assert found.known == expected.provenance
        for told, seconds, band in (
            (expected.ttft_s, found.ttft_s, found.ttft),
            (expected.tpot_s, found.tpot_s, found.tpot),
        ):
            if told is not None:
                assert seconds[at] == pytest.approx(told.value)
                assert seconds[at] * band.low == pytest.approx(told.low)
                assert seconds[at] * band.high == pytest.approx(told.high)


def told(deployment: Deployment, route: Route, kind: str, engine: str = "") -> tuple[Pool, Priced]:
    pool = deployment.pool(route.pool)
    step = next(step for step in deployment.program.steps if step.name == route.step)
    sizes = Sizes(int(step.attributes["isl"]), int(step.attributes["osl"]))
    assert pool.model and pool.precision
    tp, batch = pool.parallelism.tp, pool.batch_limit
    return pool, priced((pool.model, pool.precision, pool.device), engine, tp, sizes, batch, kind)


def test_a_deployments_routes_say_what_weft_estimate_says_of_their_pools() -> None:
    plan = compile_agent(CompileRequest(VOICE, rules=Rules(serving="disaggregated"), aim=Aim(compare=False)))
    route = plan.route("think.prefill")
    _, expected = told(plan, route, PREFILL)
    assert expected.ttft_s
    ends = (expected.ttft_s.value, expected.ttft_s.low, expected.ttft_s.high)
    assert (route.latency_s, route.low_s, route.high_s) == pytest.approx(ends)
    assert route.provenance == expected.provenance
    route = plan.route("think.decode")
    _, expected = told(plan, route, DECODE)
    assert expected.tpot_s
    ends = (expected.tpot_s.value, expected.tpot_s.low, expected.tpot_s.high)
    assert (route.latency_s / 39, route.low_s / 39, route.high_s / 39) == pytest.approx(ends), "40 tokens, 39 gaps"
    assert route.s_per_output_token == pytest.approx(expected.tpot_s.value)
    assert route.provenance == expected.provenance


@pytest.mark.parametrize("engine", ["", "vllm 0.19"])
def test_a_pool_that_serves_whole_calls_is_a_closed_loop_of_its_batch(engine: str) -> None:
    plan = compile_agent(
        CompileRequest(
            VOICE, Needs(rate_per_s=5.0), Supply(engine=engine), Rules(serving="aggregated"), Aim(compare=False)
        )
    )
    first, after = plan.route("think.prefill"), plan.route("think.decode")
    pool, expected = told(plan, after, SERVER, engine)
    assert expected.ttft_s and expected.tpot_s and expected.tokens_per_s
    assert (first.latency_s, first.high_s) == pytest.approx((expected.ttft_s.value, expected.ttft_s.high))
    assert (after.latency_s / 39, after.high_s / 39) == pytest.approx((expected.tpot_s.value, expected.tpot_s.high))
    calls_per_s = pool.batch_limit / (first.latency_s + after.latency_s)
    assert calls_per_s == pytest.approx(expected.tokens_per_s.value / 40), "Little's law"
    busy = plan.workload.rate_per_s * first.visits / calls_per_s / pool.replicas
    assert pool.utilisation == pytest.approx(busy)


def test_a_first_token_waits_and_the_objective_counts_it() -> None:
    request = plan_request_of(CompileRequest(VOICE))
    planned = build(request)
    waits = [each for each in planned.candidates["think.prefill"].values() if each.wait_s > 1e-3]
    assert waits
    for each in planned.candidates["think.prefill"].values():
        assert each.objective_s == pytest.approx(each.step_s + each.wait_s)
        assert each.objective_s <= 0.25
    plan = compile_agent(CompileRequest(VOICE, aim=Aim(compare=False)))
    expected = sum(route.visits * (route.latency_s + route.wait_s) for route in plan.routes)
    assert plan.answer.e2e_s == pytest.approx(expected, rel=1e-3)


def test_a_robust_plan_keeps_the_objectives_at_the_high_ends_of_the_bands() -> None:
    plan = compile_agent(
        CompileRequest(VOICE, Needs(slo="relaxed"), rules=Rules(serving="disaggregated"), aim=Aim(compare=False))
    )
    sure = compile_agent(
        CompileRequest(
            VOICE, Needs(slo="relaxed"), rules=Rules(serving="disaggregated", robust=True), aim=Aim(compare=False)
        )
    )
    assert sure.answer.usd_per_hour >= plan.answer.usd_per_hour
    route = sure.route("think.prefill")
    _, expected = told(sure, route, PREFILL)
    assert expected.ttft_s
    assert (route.latency_s, route.low_s) == pytest.approx((expected.ttft_s.high, expected.ttft_s.low))
    assert route.latency_s == pytest.approx(route.high_s)
    assert route.latency_s + route.wait_s <= 1.0
