"""One event for a run of equal steps gives what one event a step gives: the same records, to the tick."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.effort import cases
from tests.sim.deployments import aggregated_chat, flat_pace, split_chat, tool_agent
from tests.sim.loads import both_ways, poisson
from weft.core.deployment import Deployment
from weft.core.hardware import Link
from weft.sim.faults import Autoscaling, Failure, Slowdown
from weft.sim.routing import RouterKind
from weft.sim.simulate import SimConfig
from weft.traces.request import CallSize, Request

CASES = {
    "aggregated": aggregated_chat(),
    "split": split_chat(),
    "agent": tool_agent(),
    "agent, split": tool_agent(moves=True),
    "little memory": aggregated_chat(kv_tokens=1600),
    "agent, split, little memory": tool_agent(moves=True, kv_tokens=1600, batch=8),
    "small batch": aggregated_chat(replicas=1, batch=3),
    "servers that start": tool_agent(start_ms=30, start_percent=150, pace=replace(flat_pace(), alone=0.7)),
}


@pytest.mark.parametrize("name", CASES)
def test_runs_of_steps_are_exact(name: str) -> None:
    fast, exact = both_ways(CASES[name], list(poisson(300, 20.0, 1)), SimConfig(cv=0.5))
    assert fast.summary.completed == 300
    assert fast.events < exact.events


def test_preemption_is_exact_and_happens() -> None:
    fast, _ = both_ways(aggregated_chat(replicas=1, kv_tokens=900), list(poisson(200, 15.0, 2)), SimConfig())
    assert fast.summary.calls[0].preempted > 0


@pytest.mark.parametrize("deployment", [aggregated_chat(), split_chat(), tool_agent(moves=True)])
@pytest.mark.parametrize("router", list(RouterKind))
def test_trouble_is_exact(deployment: Deployment, router: RouterKind) -> None:
    decode = deployment.pools[-2 if deployment.agent == "tools" else -1].name
    first = deployment.pools[0].name
    troubles = (Failure(decode, 1, 1.5, 0.7), Slowdown(decode, 1, 2.5, 2.0), Failure(first, 1, 3.003, 0.1))
    config = SimConfig(troubles=(*troubles, Autoscaling(decode, 3, 0.5, 0.3, 0.2)), router=router, cv=None)
    fast, _ = both_ways(deployment, list(poisson(200, 40.0, 3)), config)
    assert fast.summary.completed == 200
    assert fast.summary.calls[0].restarted > 0


def test_all_replicas_gone_for_a_while() -> None:
    config = SimConfig(troubles=(Failure("decode", 2, 1.0, 2.0), Failure("prefill", 2, 1.2, 1.0)))
    fast, _ = both_ways(split_chat(), list(poisson(100, 30.0, 4)), config)
    assert fast.summary.completed == 100
    assert fast.summary.e2e_s.max > 1.5


coarse = st.integers(0, 6).map(lambda tenths: tenths / 100)
"""Times on the grid of the steps, so that much happens at the same tick."""


@settings(max_examples=cases(60), deadline=None)
@given(
    st.lists(st.tuples(coarse, st.integers(1, 60), st.integers(1, 12)), min_size=1, max_size=25),
    st.integers(1, 3),
    st.integers(1, 4),
    st.sampled_from([160, 320, 100_000]),
    st.booleans(),
    st.booleans(),
)
def test_ties_are_exact(
    gaps: list[tuple[float, int, int]], replicas: int, batch: int, kv: int, moves: bool, instant: bool
) -> None:
    """Every step lasts 0.01 s, or grows by 0.01 s with each token held: borders fall onto arrivals and each other."""
    pace = flat_pace(decode_s=0.01, token_s=0.0, fixed_s=0.01, context_s=0.0 if instant else 0.01)
    made = split_chat if moves else aggregated_chat
    sizes = {"batch": batch, "kv_tokens": kv, "step_tokens": 64}
    deployment = made(replicas, pace=pace, **sizes) if not moves else split_chat(replicas, replicas, pace, **sizes)
    if instant:
        deployment = replace(deployment, links=tuple(_instant(link) for link in deployment.links))
    at_s, requests = 0.0, list[Request]()
    for gap_s, isl, osl in gaps:
        at_s += gap_s
        requests.append(Request(at_s, (CallSize(isl, osl),)))
    both_ways(deployment, requests, SimConfig(router=RouterKind.LEAST_LOAD))


def _instant(link: Link) -> Link:
    return replace(link, bytes_per_s=1e30, latency_s=0.0)
