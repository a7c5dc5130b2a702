"""Percentiles under continuous batching: closed forms where there are any, else a batch simulated step by step."""

from dataclasses import replace

import numpy as np
import pytest

from weft.cost.arrays import Floats
from weft.cost.tails import Lengths, Replica, lattice, lognormal, serve, serve_closed, stable_rate

TOKENS = np.array([1.0, 1e5])


def replica(slots: int, step_s: float, each_s: float, token_s: float) -> Replica:
    """A step takes step_s + each_s per sequence, a prompt token_s per token; a prompt waits for half a step."""
    sizes = np.arange(1, slots + 1)
    steps = step_s + each_s * sizes
    prompts = token_s * TOKENS
    return Replica(steps, 1000 * token_s + steps / 2, TOKENS, prompts, prompts + steps[0] / 2)


def simulate(machine: Replica, lengths: Lengths, rate_per_s: float, requests: int, cv: float) -> tuple[Floats, Floats]:
    """TTFT and TPOT of requests of a batch that runs step by step: prompts first, each alone, as slots allow."""
    random = np.random.default_rng(7)
    shape = 1 / cv**2
    arrive = np.cumsum(random.gamma(shape, 1 / (shape * rate_per_s), requests))
    which = random.integers(lengths.isl.size, size=requests)
    left = np.maximum(np.round(lengths.osl[which]), 2).astype(int) - 1
    gaps, first, last = left.copy(), np.zeros(requests), np.zeros(requests)
    prompt_s = np.interp(lengths.isl[which], machine.tokens, machine.busy_s)
    clock, coming, running = 0.0, 0, np.empty(0, dtype=int)
    while coming < requests or running.size:
        if coming < requests and arrive[coming] <= clock and running.size < machine.step_s.size:
            clock += prompt_s[coming]
            first[coming] = clock
            running = np.append(running, coming)
            coming += 1
        elif running.size:
            clock += machine.step_s[running.size - 1]
            left[running] -= 1
            last[running[left[running] == 0]] = clock
            running = running[left[running] > 0]
        else:
            clock = arrive[coming]
    warm = slice(requests // 5, -requests // 5)
    return (first - arrive)[warm], ((last - first) / gaps)[warm]


MACHINE = replica(64, 0.010, 0.0002, 5e-5)
EQUAL, VARIED = (1000, 0.0, 100, 0.0), (1000, 0.8, 100, 0.8)
CASES = {
    "light": (MACHINE, EQUAL, 0.3),
    "heavy": (MACHINE, EQUAL, 0.7),
    "varied": (MACHINE, VARIED, 0.7),
    "long answers among short": (MACHINE, (1000, 0.5, 100, 1.5), 0.85),
    "decoding": (MACHINE, (200, 0.5, 300, 0.5), 0.8),
    "few slots": (replica(8, 0.010, 0.0002, 5e-5), (1000, 0.5, 100, 0.5), 0.7),
}


@pytest.mark.parametrize(("machine", "sizes", "share"), CASES.values(), ids=CASES)
def test_beside_a_batch_simulated_step_by_step(
    machine: Replica, sizes: tuple[float, float, float, float], share: float
):
    lengths = lognormal(*sizes)
    rate = share * stable_rate(machine, lengths)
    told = serve(machine, lengths, rate)
    ttft_s, tpot_s = simulate(machine, lengths, rate, 3000, 1.0)
    assert told.tpot_s is not None
    assert told.tpot_s.mean == pytest.approx(tpot_s.mean(), rel=0.10)
    assert told.tpot_s.p95 == pytest.approx(np.quantile(tpot_s, 0.95), rel=0.10)
    assert told.ttft_s.mean == pytest.approx(ttft_s.mean(), rel=0.10)
    assert told.ttft_s.p95 == pytest.approx(np.quantile(ttft_s, 0.95), rel=0.17)


def test_clumped_arrivals_wait_longer():
    lengths = lognormal(1000, 0.5, 100, 0.5)
    rate = 0.6 * stable_rate(MACHINE, lengths)
    told, poisson = serve(MACHINE, lengths, rate, arrival_cv=2.0), serve(MACHINE, lengths, rate)
    ttft_s, tpot_s = simulate(MACHINE, lengths, rate, 3000, 2.0)
    assert told.tpot_s is not None and poisson.tpot_s is not None
    assert told.ttft_s.p95 > 1.5 * poisson.ttft_s.p95 and told.tpot_s.p95 > 1.1 * poisson.tpot_s.p95
    assert told.ttft_s.mean == pytest.approx(ttft_s.mean(), rel=0.30)
    assert told.tpot_s.p95 == pytest.approx(np.quantile(tpot_s, 0.95), rel=0.30)


def test_prompts_alone_are_mg1():
    """Answers of one token: TTFT is Pollaczek-Khinchine and the prompt itself; there is no TPOT."""
    lengths = Lengths(np.array([500.0, 1500.0]), np.ones(2))
    free = replace(MACHINE, first_s=np.full(64, 0.05), alone_s=5e-5 * TOKENS)
    told = serve(free, lengths, rate_per_s=10.0)
    expected = 0.05 + 0.5 * 0.05 / (1 - 0.5) * (1 + 0.25) / 2
    assert told.tpot_s is None
    assert told.ttft_s.mean == pytest.approx(expected, rel=0.02)
    assert told.e2e_s == told.ttft_s


def test_without_load_nothing_varies_but_lengths():
    told = serve(MACHINE, lognormal(*EQUAL), rate_per_s=1e-6)
    assert told.tpot_s is not None
    assert told.tpot_s.p99 == pytest.approx(MACHINE.step_s[0], rel=1e-2)
    assert told.ttft_s.p99 == pytest.approx(0.05 + MACHINE.step_s[0] / 2, rel=1e-2)


def test_the_stable_rate_fills_every_slot():
    lengths = lognormal(*VARIED)
    rate = stable_rate(MACHINE, lengths)
    busy_s = 5e-5 * lengths.isl.mean()
    inside = rate * (MACHINE.first_s[-1] + 99 * MACHINE.step_s[-1] / (1 - rate * busy_s))
    assert inside == pytest.approx(64, rel=0.02)
    with pytest.raises(ValueError, match="not below"):
        serve(MACHINE, lengths, rate)


@pytest.mark.parametrize("share", [0.2, 0.5, 0.8, 0.95])
def test_percentiles_rise_with_load_and_with_rank(share: float):
    lengths = lognormal(*VARIED)
    less, more = (serve(MACHINE, lengths, part * stable_rate(MACHINE, lengths)) for part in (share, share + 0.04))
    for quick, slow in ((less.ttft_s, more.ttft_s), (less.tpot_s, more.tpot_s), (less.e2e_s, more.e2e_s)):
        assert quick is not None and slow is not None
        assert quick.mean < slow.mean and quick.p95 < slow.p95
        assert quick.p50 < quick.p95 < quick.p99


def test_a_closed_loop_keeps_its_means():
    told = serve_closed(MACHINE, lognormal(*VARIED), 32, ttft_s=0.4, tpot_s=0.03)
    assert told.tpot_s is not None
    assert told.ttft_s.mean == pytest.approx(0.4, rel=0.02)
    assert told.tpot_s.mean == pytest.approx(0.03, rel=0.02)
    assert told.ttft_s.p95 > told.ttft_s.mean > told.ttft_s.p50


def test_lengths_have_their_means_and_fill_the_cube():
    lengths = lognormal(1000, 1.0, 200, 0.5)
    assert (lengths.isl.mean(), lengths.osl.mean()) == (pytest.approx(1000), pytest.approx(200, rel=1e-3))
    assert lengths.isl.std() / lengths.isl.mean() == pytest.approx(1.0, rel=0.1)
    assert abs(np.corrcoef(lengths.isl, lengths.osl)[0, 1]) < 0.03
    assert np.abs(lattice(4096, 4).mean(axis=1) - 0.5).max() < 0.002
    assert lengths.decoding_context == pytest.approx(1000 + 100 * 1.25, rel=0.05)
