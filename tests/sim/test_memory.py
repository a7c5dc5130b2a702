"""What ends dies at once, by its reference count: memory is that of what is under way, not the collector's to find."""

import gc
from collections import Counter

import pytest

from tests.sim.deployments import aggregated_chat, split_chat, tool_agent
from tests.sim.loads import poisson
from weft.sim.faults import Failure
from weft.sim.simulate import SimConfig, simulate

KINDS = ("LlmCall", "Run", "AgentRun", "Sequence", "Table", "Ready")


def alive() -> Counter[str]:
    return Counter(name for each in gc.get_objects() if (name := type(each).__name__) in KINDS)


CASES = {
    "aggregated": (aggregated_chat(), "serve"),
    "little memory": (aggregated_chat(kv_tokens=1600), "serve"),
    "split": (split_chat(), "decode"),
    "agent": (tool_agent(), "serve"),
    "agent, split": (tool_agent(moves=True), "decode"),
}


@pytest.mark.parametrize("name", CASES)
def test_nothing_that_ended_waits_for_the_collector(name: str) -> None:
    deployment, pool = CASES[name]
    config = SimConfig(troubles=(Failure(pool, 1, 2.0, 0.5),))
    gc.collect()
    gc.disable()
    try:
        before = alive()
        outcome = simulate(deployment, poisson(200, 20.0, 1), config)
        left = alive() - before
    finally:
        gc.enable()
    assert outcome.summary.completed == 200
    assert sum(left.values()) < 5, left
