"""The simulator against closed forms of queueing theory, within confidence bounds of batch means."""

import math

import numpy as np
import pytest

from tests.sim.deployments import aggregated_chat, cpu_pool, deployment, flat_pace
from weft.core.deployment import Deployment
from weft.core.program import Block, Program, Step, StepKind, Terminator
from weft.sim.columns import Column
from weft.sim.simulate import SimConfig, simulate
from weft.traces.arrivals import ArrivalKind, Arrivals
from weft.traces.request import CallSize, Request

BATCHES = 25


def mean_within(column: Column, expected_s: float, warm_up: int = 1000) -> None:
    """Batch means: the expected value lies within 3.7 standard errors (once in a thousand it would not, at 24 degrees
    of freedom)."""
    values = np.array(column.values, dtype=float)[warm_up:] / 1e12
    means = np.array([batch.mean() for batch in np.array_split(values, BATCHES)])
    error = means.std(ddof=1) / math.sqrt(BATCHES)
    assert abs(means.mean() - expected_s) < 3.7 * error, (means.mean(), expected_s, error)
    assert error < 0.15 * expected_s


def poisson(count: int, rate: float, seed: int) -> list[Request]:
    times = Arrivals(ArrivalKind.POISSON, rate).times_s(seed)
    return [Request(at_s, (CallSize(100, 1),)) for at_s, _ in zip(times, range(count), strict=False)]


@pytest.mark.parametrize("load", [0.5, 0.8])
def test_one_replica_of_prompts_is_an_m_d_1_queue(load: float) -> None:
    """Pollaczek–Khinchine: wait = ρ · D / (2 · (1 − ρ))."""
    service_s = 0.01
    chat = aggregated_chat(replicas=1, batch=1, pace=flat_pace(token_s=service_s / 100))
    outcome = simulate(chat, poisson(25_000, load / service_s, 1), SimConfig(stop_overload=False))
    mean_within(outcome.recorder.calls["chat"].ttft, service_s + load * service_s / (2 * (1 - load)))
    assert outcome.summary.pools[0].busy == pytest.approx(load, rel=0.02)


@pytest.mark.parametrize(("cores", "load"), [(1, 0.7), (3, 0.8), (10, 0.8)])
def test_cores_are_an_m_m_c_queue(cores: int, load: float) -> None:
    """Erlang's C formula."""
    service_s = 0.02
    rate = load * cores / service_s
    config = SimConfig(cv=None, stop_overload=False)
    outcome = simulate(cpu_only(cores, service_s), poisson(30_000, rate, 2), config)
    wait_s = erlang_c(cores, rate * service_s) * service_s / (cores * (1 - load))
    mean_within(outcome.recorder.steps["work"], service_s + wait_s)


@pytest.mark.parametrize("customers", [2, 6, 15])
def test_sessions_are_a_closed_network(customers: int) -> None:
    """Exact mean value analysis of N customers who think (exponential) and then queue at one core."""
    service_s, think_s, turns = 0.05, 0.3, 20_000 // customers
    draw = np.random.default_rng(3)
    requests = [
        Request(0.0, (CallSize(1, 1),) * turns, tuple(draw.exponential(think_s, turns - 1))) for _ in range(customers)
    ]
    outcome = simulate(cpu_only(1, service_s), requests, SimConfig(cv=None, stop_overload=False))
    response_s = 0.0
    queue = 0.0
    for count in range(1, customers + 1):
        response_s = service_s * (1 + queue)
        queue = count / (think_s + response_s) * response_s
    mean_within(outcome.recorder.steps["work"], response_s)


def test_littles_law_holds_for_a_fleet() -> None:
    """Mean sequences in the system = arrivals a second × mean time, whatever the policies do."""
    requests = [Request(each.at_s, (CallSize(100, 40),)) for each in poisson(5_000, 30.0, 4)]
    outcome = simulate(aggregated_chat(replicas=3), requests, SimConfig())
    summary, samples = outcome.summary, outcome.samples.kept
    inside = np.mean([sample.arrived - sample.ended for sample in samples])
    assert inside == pytest.approx(summary.completed / summary.span_s * summary.e2e_s.mean, rel=0.1)


def cpu_only(cores: int, service_s: float) -> Deployment:
    step = Step("work", StepKind.APPLY, ("ask",), ("work",), {"core_s": service_s})
    program = Program("cpu", (Block("entry", ("ask",), (step,), Terminator(returns=("work",))),), ("text",))
    return deployment(program, [cpu_pool(cores)], {"work": "cpu"})


def erlang_c(cores: int, offered: float) -> float:
    """The chance of waiting."""
    terms = [offered**k / math.factorial(k) for k in range(cores)]
    last = offered**cores / math.factorial(cores) * cores / (cores - offered)
    return last / (sum(terms) + last)
