"""Loads for tests of the simulator, and what is compared of them."""

from collections.abc import Iterator
from dataclasses import replace
from random import Random

from weft.core.deployment import Deployment
from weft.core.metrics import RequestRecord
from weft.sim.simulate import Outcome, SimConfig, simulate
from weft.traces.request import CallSize, Request


def poisson(
    count: int, rate: float, seed: int, isl: tuple[int, int] = (20, 400), osl: tuple[int, int] = (1, 60)
) -> Iterator[Request]:
    draw, at_s = Random(seed), 0.0
    for _ in range(count):
        at_s += draw.expovariate(rate)
        yield Request(at_s, (CallSize(draw.randint(*isl), draw.randint(*osl)),))


Ended = tuple[int, RequestRecord]


def records(
    deployment: Deployment, requests: list[Request], config: SimConfig | None = None
) -> tuple[list[Ended], Outcome]:
    heard: list[Ended] = []
    outcome = simulate(
        deployment, requests, config or SimConfig(), lambda number, record: heard.append((number, record))
    )
    return heard, outcome


def both_ways(deployment: Deployment, requests: list[Request], config: SimConfig) -> tuple[Outcome, Outcome]:
    """With one event a run and with one a step; what ended, when, in which order and with which gaps is the same."""
    fast, fast_outcome = records(deployment, requests, config)
    exact, exact_outcome = records(deployment, requests, replace(config, exact=True))
    assert fast == exact
    for name, columns in fast_outcome.recorder.calls.items():
        assert columns.itl.values == exact_outcome.recorder.calls[name].itl.values
    return fast_outcome, exact_outcome
