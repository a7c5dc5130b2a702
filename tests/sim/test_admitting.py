"""Runs refused at the door: counted everywhere, never half-way, and worth it when too much comes."""

from dataclasses import replace

from tests.sim.deployments import aggregated_chat, flat_pace, tool_agent
from tests.sim.loads import both_ways, poisson, records
from weft.core.workload import Slo
from weft.sim.simulate import SimConfig, simulate
from weft.traces.request import CallSize, Request

DOOR = SimConfig(admission=True, stop_overload=False)
SLO = Slo("quick", ttft_s=0.5)
PACE = flat_pace(decode_s=0.01, token_s=1e-3)


def test_who_would_be_late_is_refused_and_counted() -> None:
    """Prompts of 0.3 s one after the other: the second of three at once waits for 0.3 s, and is late."""
    crowd = [Request(0.0, (CallSize(300, 2),)) for _ in range(3)] + [Request(5.0, (CallSize(300, 2),))]
    heard, outcome = records(aggregated_chat(1, PACE, SLO), crowd, DOOR)
    summary = outcome.summary
    assert (summary.arrived, summary.completed, summary.refused, summary.unfinished) == (4, 2, 2, 0)
    assert summary.in_time == 0.5
    assert sorted(number for number, record in heard if record.refused) == [1, 2]
    assert all(not record.steps for _, record in heard if record.refused)


def test_without_an_objective_nobody_is_refused() -> None:
    summary = simulate(aggregated_chat(1, PACE), list(poisson(200, 50.0, 1)), DOOR).summary
    assert (summary.completed, summary.refused) == (200, 0)


def test_more_runs_are_in_time_when_too_many_come() -> None:
    deployment, requests = aggregated_chat(1, PACE, SLO), list(poisson(800, 8.0, 2))
    refusing, open_door = (
        simulate(deployment, requests, config).summary for config in (DOOR, replace(DOOR, admission=False))
    )
    assert refusing.refused > 100
    assert refusing.in_time > 1.5 * open_door.in_time
    assert refusing.goodput_per_s > 1.5 * open_door.goodput_per_s


def test_a_run_that_has_begun_goes_on_and_fast_is_exact() -> None:
    deployment = replace(tool_agent(pace=PACE), slo=Slo("whole", ttft_s=0.4, e2e_s=3.0))
    fast, exact = both_ways(deployment, list(poisson(200, 6.0, 4)), replace(DOOR, cv=0.5))
    assert fast.summary.refused == exact.summary.refused > 0
    assert fast.summary.completed + fast.summary.refused == 200
