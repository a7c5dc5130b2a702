"""Prompts in order of slack: by hand, exact, and what it does to runs."""

from dataclasses import replace

import pytest

from tests.sim.deployments import flat_pace, tool_agent
from tests.sim.loads import both_ways, poisson, records
from weft.core.workload import Slo
from weft.sim.simulate import SimConfig, simulate
from weft.sim.urgency import PriorityKind, critical_path, urgency_of
from weft.traces.request import CallSize, Request

SLACK, ARRIVAL = SimConfig(priority=PriorityKind.SLACK), SimConfig(priority=PriorityKind.ARRIVAL)
ONE_AT_A_TIME = tool_agent(replicas=1, batch=1, pace=flat_pace(decode_s=0.01, token_s=1e-3))


def test_an_older_run_overtakes_a_newer_one() -> None:
    """The first run's second call is ready at 0.45 s, after two others that came while it looked things up."""
    small = CallSize(10, 5)
    again = Request(0.0, (small, small), choices={"wants": (1, 0)})
    others = [Request(at_s, (CallSize(10, 60),), choices={"wants": (0,)}) for at_s in (0.01, 0.02, 0.03)]
    took = {
        config.priority: {
            number: record.ended_s for number, record in records(ONE_AT_A_TIME, [again, *others], config)[0]
        }
        for config in (SLACK, ARRIVAL)
    }
    assert took[PriorityKind.SLACK][0] < 1.0
    assert took[PriorityKind.ARRIVAL][0] > 1.8


def test_the_path_takes_the_plans_times_or_what_is_declared() -> None:
    planned = tuple(replace(route, latency_s=2.0) if "think" in route.step else route for route in ONE_AT_A_TIME.routes)
    path = critical_path(replace(ONE_AT_A_TIME, routes=planned))
    assert path.remaining_s["think.prefill"] == pytest.approx(path.remaining_s["think.decode"] + 2.0)
    assert path.remaining_s["left"] - path.remaining_s["right"] == pytest.approx(0.03)


def test_slack_is_for_objectives_of_whole_runs() -> None:
    assert urgency_of(ONE_AT_A_TIME, None) is None
    assert urgency_of(replace(ONE_AT_A_TIME, slo=Slo("e2e", e2e_s=5.0)), None) is not None


@pytest.mark.parametrize("moves", [False, True])
def test_fast_is_exact(moves: bool) -> None:
    deployment = tool_agent(moves=moves, batch=4, kv_tokens=3200)
    both_ways(deployment, list(poisson(150, 20.0, 1)), replace(SLACK, cv=0.5))


def test_a_crowd_of_runs_has_a_shorter_tail() -> None:
    deployment, requests = tool_agent(batch=4), list(poisson(400, 20.0, 3))
    slack, arrival = (simulate(deployment, requests, config).summary.e2e_s for config in (SLACK, ARRIVAL))
    assert slack.p99 < arrival.p99
