"""The heap of events and asyncio in virtual time drive the same policies to the same records, to the tick."""

import asyncio

import pytest

from tests.sim.deployments import aggregated_chat, split_chat, tool_agent
from tests.sim.loads import poisson, records
from tests.sim.virtual_time import Visit, World
from weft.core.deployment import Deployment
from weft.sim.kernel import ticks
from weft.sim.routing import RouterKind
from weft.sim.simulate import SimConfig
from weft.traces.request import Request

CASES = {
    "aggregated": (aggregated_chat(), 40.0),
    "little memory": (aggregated_chat(kv_tokens=1600), 20.0),
    "agent with two tools side by side": (tool_agent(cores=1000), 15.0),
    "split": (split_chat(1, 1), 1.5),
    "servers that start": (tool_agent(cores=1000, start_ms=30, start_percent=150), 15.0),
    "split, servers that start": (split_chat(1, 1, start_ms=20), 1.5),
}


def visits(deployment: Deployment, requests: list[Request]) -> list[Visit]:
    heard, _ = records(deployment, requests, SimConfig(router=RouterKind.LEAST_LOAD, seed=5))
    found: list[Visit] = []
    for number, record in heard:
        at = ticks(requests[number].at_s)
        found += [
            (number, step.step, step.visit, at + ticks(step.started_s), at + ticks(step.ended_s))
            for step in record.steps
        ]
    return sorted(found)


@pytest.mark.parametrize("name", CASES)
def test_heap_is_asyncio(name: str) -> None:
    deployment, rate = CASES[name]
    requests = list(poisson(150, rate, 11))
    assert visits(deployment, requests) == asyncio.run(World(deployment, 5).run(requests))
