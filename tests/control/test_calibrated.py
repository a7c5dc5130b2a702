"""Devices that are slower than their catalogue: control finds out, staffs for it, and the next plan counts on it."""

from collections.abc import Mapping
from dataclasses import replace

import pytest

from weft import catalog
from weft.compiler.pipeline import compile_agent
from weft.compiler.plan_request import software
from weft.compiler.request import Aim, CompileRequest, Needs, Rules, paces_of
from weft.control.replan import asked, planned_load, request_of, staffed_usd_per_hour
from weft.core.deployment import Deployment, Parallelism
from weft.core.errors import CatalogError, InputError
from weft.core.pace import PHASES, pace_key
from weft.core.units import Precision
from weft.cost.steps import Engine
from weft.plan.measured import as_measured, modelled
from weft.plan.requests import LeafTask, TaskKind
from weft.plan.served import DECODE, PREFILL, SERVER, Replica, Served, Sizes, served
from weft.plan.staffing import carried_per_s
from weft.policy.replanning import Estimate, Replanning
from weft.policy.scaling import ScalingConfig
from weft.sim.simulate import Outcome, SimConfig, simulate
from weft.traces.request import Request

SLOWER, RUNS = 1.5, 400
CONTROL = ScalingConfig(start_s=1.0)
ASKED = CompileRequest(
    "examples/voice_agent.py", Needs(rate_per_s=20.0), rules=Rules(serving="disaggregated"), aim=Aim(compare=False)
)


@pytest.fixture(scope="module")
def plan() -> Deployment:
    return compile_agent(ASKED)


def all_of(plan: Deployment, factor: float) -> Mapping[str, float]:
    return {pace_key(pool.model, pool.device, phase): factor for pool in plan.pools if pool.model for phase in PHASES}


def under_load(plan: Deployment, paces: Mapping[str, float]) -> Outcome:
    requests = (Request(number / 20.0) for number in range(RUNS))
    return simulate(plan, requests, SimConfig(control=CONTROL, stop_overload=False, paces=paces))


@pytest.fixture(scope="module")
def slower(plan: Deployment) -> Outcome:
    return under_load(plan, all_of(plan, SLOWER))


def test_a_fleet_that_is_slower_than_promised_is_measured_and_one_as_promised_planned_as_before(
    plan: Deployment, slower: Outcome
) -> None:
    used = {key for key, known in slower.paces.items() if known.passes}
    assert used == {pace_key(pool.model, pool.device, pool.name.partition("-")[0]) for pool in plan.pools if pool.model}
    assert {key: known.factor for key, known in slower.paces.items()} == dict.fromkeys(
        used, pytest.approx(SLOWER, rel=1e-6)
    )
    promised = under_load(plan, {})
    assert all(known.factor == 1.0 and known.measured == 1.0 for known in promised.paces.values())
    assert asked(request_of(plan), Estimate(20.0)).supply == request_of(plan).supply


def test_the_next_plan_buys_what_the_hardware_does(plan: Deployment, slower: Outcome) -> None:
    """It is the plan of somebody who knew; and control asks for it, staffs for it, goes on from it."""
    seen = Estimate(20.0, paces={key: round(known.factor, 6) for key, known in slower.paces.items()})
    drift, what = seen.drift(planned_load(plan))
    assert drift == pytest.approx(SLOWER - 1) and "times that" in what
    again = compile_agent(asked(ASKED, seen))
    knew = compile_agent(
        replace(ASKED, supply=replace(ASKED.supply, measured=tuple(f"{key}=1.5" for key in seen.paces)))
    )
    assert again.answer.usd_per_hour == knew.answer.usd_per_hour and again.measured == dict.fromkeys(seen.paces, 1.5)
    assert [(pool.device, pool.replicas, pool.engine) for pool in again.pools] == [
        (pool.device, pool.replicas, pool.engine) for pool in knew.pools
    ]
    assert again.answer.usd_per_hour >= plan.answer.usd_per_hour
    assert planned_load(again).paces == again.measured
    assert not Replanning(planned_load(again)).wants(0.0, replace(planned_load(again), paces=seen.paces))
    assert asked(request_of(again), planned_load(again)).supply.measured == tuple(
        f"{key}=1.5" for key in sorted(seen.paces)
    )


@pytest.mark.parametrize("kind", [PREFILL, DECODE, SERVER])
def test_the_planner_stretches_what_the_engine_computes_and_not_the_server_before_it(kind: str) -> None:
    """A device on which all takes twice as long: TPOT twice; of TTFT the part that the passes are."""
    spec, device, sizes = catalog.model("llama-3-8b"), catalog.device("h100-sxm"), Sizes(1000, 300)
    engine = Engine(spec, device, Parallelism(), Precision.FP16)

    def at(factor: float) -> Served:
        words = [f"llama-3-8b@h100-sxm.{phase}={factor}" for phase in PHASES]
        known = software("", [LeafTask("t", TaskKind.PREFILL, 1.0, spec)], paces_of(words))
        return served([Replica(engine, kind, sizes, (1, 8), sizes)], known, {})[0]

    once, twice, thrice = at(1.0), at(2.0), at(3.0)
    assert twice.tpot_s == pytest.approx(2 * once.tpot_s)
    own_s = twice.ttft_s - once.ttft_s
    assert thrice.ttft_s - twice.ttft_s == pytest.approx(own_s)
    assert all(own_s > 0) and all(own_s < once.ttft_s)


def test_a_fleet_is_staffed_for_what_its_devices_do(plan: Deployment) -> None:
    """The closed form: passes that take 1.5 times as long carry two thirds of the load, or less where queues count."""
    there = as_measured(plan, all_of(plan, SLOWER))
    carried, now = (carried_per_s(each, 0.8, 8) for each in (plan, there))
    for pool in plan.pools:
        if pool.model is None:
            assert carried[pool.name] == now[pool.name]
        else:
            assert all(fewer <= many / 1.4 for many, fewer in zip(carried[pool.name], now[pool.name], strict=True))
    assert as_measured(there, all_of(plan, SLOWER)) is there
    back = as_measured(there, {})
    for pool, was in zip(back.pools, plan.pools, strict=True):
        assert pool.utilisation == pytest.approx(was.utilisation)
        if pool.engine is not None and was.engine is not None:
            assert pool.engine.pace.decode_s == pytest.approx(was.engine.pace.decode_s)
            model = modelled(there, there.pool(pool.name))
            assert model is not None and model.prompt_s == pytest.approx(was.engine.pace.prompt_s)


def test_a_device_that_misses_the_objective_by_itself_is_left_at_any_price(plan: Deployment) -> None:
    there = as_measured(plan, all_of(plan, 4.0))
    usd, held = staffed_usd_per_hour(there, CONTROL, 20.0)
    assert "asked" in held and Replanning(planned_load(plan)).weigh(usd, held, 10 * usd).move


@pytest.mark.parametrize("word", ["llama-3-8b@h100.decode", "m@d.think=1", "a@b.decode=0", "@b.decode=1", "a.decode=2"])
def test_paces_that_cannot_be_read_are_refused(word: str) -> None:
    with pytest.raises(InputError, match="MODEL@DEVICE"):
        paces_of([word])


def test_a_pace_of_a_model_that_nobody_knows_is_refused() -> None:
    with pytest.raises(CatalogError):
        paces_of(["no-such@h100-sxm.decode=1.5"])
