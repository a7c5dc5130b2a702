"""Percentiles of deployments: consistent with the closed loop's means, monotone, refused where there is no answer."""

from pathlib import Path

import numpy as np
import pytest

from tests.estimate.test_points import point
from weft.core.errors import InputError, PlanError
from weft.core.workload import Slo
from weft.cost.tails import Lengths, lognormal
from weft.estimate.coefficients import coefficients
from weft.estimate.lengths import read_lengths
from weft.estimate.limits import most_within
from weft.estimate.price import Priced, price
from weft.estimate.resolve import resolve
from weft.estimate.tails import Deployment, at_rate, deployment, highest_rate, in_flight

USING = coefficients()
EQUAL = lognormal(1024, 0.0, 1024, 0.0)


def deployed(lengths: Lengths = EQUAL, max_batch: int | None = None, **changes: object) -> Deployment:
    asked = point(isl=float(lengths.isl.mean()), osl=float(lengths.osl.mean()), **changes)
    return deployment(resolve(asked, USING.efficiencies), lengths, USING, max_batch)


def test_a_rate_and_as_many_in_flight_agree():
    """TPOT of an open loop that holds 64 sequences on average is that of a closed loop of 64."""
    asked = deployed()
    answer = price([point()])[0]
    assert isinstance(answer, Priced) and answer.tpot_s and answer.tokens_per_s
    seen = at_rate(asked, answer.tokens_per_s.value / 1024)
    assert seen.tpot_s is not None
    assert seen.running == pytest.approx(64, rel=0.1)
    assert seen.tpot_s.mean.value == pytest.approx(answer.tpot_s.value, rel=0.1)


def test_a_closed_loop_keeps_the_means_of_its_price():
    answer, seen = price([point()])[0], in_flight(deployed(), 64.0, USING)
    assert isinstance(answer, Priced) and answer.ttft_s and answer.tpot_s and seen.tpot_s
    assert seen.ttft_s.mean.value == pytest.approx(answer.ttft_s.value, rel=0.02)
    assert seen.tpot_s.mean.high == pytest.approx(answer.tpot_s.high, rel=0.02)
    assert seen.ttft_s.p95.value > seen.ttft_s.p50.value


def test_bands_go_through_the_queue():
    """Near the highest rate the slow end of the band sustains nothing; far below it the band is that of the fit."""
    asked = deployed()
    highest = highest_rate(asked)
    assert highest.low < highest.value and highest.high is not None and highest.value < highest.high
    calm, tight = at_rate(asked, 0.1 * highest.value), at_rate(asked, 0.97 * highest.value)
    assert calm.ttft_s.p95.low < calm.ttft_s.p95.value < (calm.ttft_s.p95.high or 0.0)
    assert tight.ttft_s.p95.high is None


def test_an_unstable_rate_is_refused_with_the_highest():
    with pytest.raises(PlanError, match=r"does not sustain 1000 requests/s.*ask for less than"):
        at_rate(deployed(), 1000.0)


def test_replicas_share_the_rate():
    one, two = deployed(gpus=8), deployed(gpus=16)
    assert highest_rate(two).value == pytest.approx(2 * highest_rate(one).value)
    assert at_rate(two, 4.0).ttft_s.p95 == at_rate(one, 2.0).ttft_s.p95


def test_varied_lengths_spread_what_requests_see():
    equal, varied = (at_rate(deployed(lengths), 3.0) for lengths in (EQUAL, lognormal(1024, 1.0, 1024, 1.0)))
    assert varied.ttft_s.p95.value > 1.3 * equal.ttft_s.p95.value
    assert varied.e2e_s.p95.value > 2 * equal.e2e_s.p95.value


def test_a_small_batch_limit_makes_requests_wait():
    few = deployed(max_batch=16)
    rate = 0.9 * highest_rate(few).value
    assert at_rate(few, rate).waiting > 0.2
    assert at_rate(deployed(), rate).waiting < 1e-6


def test_the_most_within_an_objective():
    asked, slo = deployed(), Slo("asked", ttft_s=1.0, tpot_s=0.03)
    found = most_within(asked, slo, "p95", USING)
    assert found.rate_per_s < highest_rate(asked).value
    for seen in (found.in_flight, found.at_rate):
        assert seen.tpot_s is not None and seen.ttft_s.p95.value <= 1.0 and seen.tpot_s.p95.value <= 0.03
    beyond = in_flight(asked, found.concurrency + 1.0, USING)
    assert beyond.tpot_s is not None
    assert beyond.tpot_s.p95.value > 0.03 or beyond.ttft_s.p95.value > 1.0
    assert found.rate_binds == "TPOT p95"


def test_an_objective_out_of_reach_names_the_best():
    with pytest.raises(PlanError, match=r"one request at a time already has TTFT p95 .* 1\.0 ms asked"):
        most_within(deployed(), Slo("asked", ttft_s=0.001), "p95", USING)
    with pytest.raises(PlanError, match="rank 'p42'"):
        most_within(deployed(), Slo("asked", ttft_s=1.0), "p42", USING)


def test_lengths_beyond_the_context_are_refused():
    with pytest.raises(PlanError, match=r"does not hold .* of the requests"):
        deployed(Lengths(np.array([1e3, 2e5]), np.array([10.0, 10.0])))


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.csv", "isl,osl\n100,10\n300,30\n"),
        ("a.jsonl", '{"input_length": 100, "output_length": 10}\n\n{"input_length": 300, "output_length": 30}\n'),
        ("a.csv", "TIMESTAMP,ContextTokens,GeneratedTokens\nx,100,10\ny,300,30\n"),
    ],
)
def test_files_of_lengths(tmp_path: Path, name: str, text: str):
    path = tmp_path / name
    path.write_text(text)
    assert read_lengths(path).isl.tolist() == [100, 300]
    assert read_lengths(path).osl.tolist() == [10, 30]


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("a.csv", "isl,osl\n", "holds no request"),
        ("a.csv", "isl,osl\n-3,10\n", "a.csv:2: isl is '-3'"),
        ("a.csv", "isl,osl\nnan,10\n", "isl is 'nan'"),
        ("a.csv", "a,b\n1,2\n", "tells no lengths"),
        ("a.jsonl", "[1, 2]\n", "a.jsonl:1: is no JSON object"),
    ],
)
def test_broken_files_of_lengths_are_refused(tmp_path: Path, name: str, text: str, words: str):
    path = tmp_path / name
    path.write_text(text)
    with pytest.raises(InputError, match=words):
        read_lengths(path)
    with pytest.raises(InputError, match="cannot be read"):
        read_lengths(tmp_path / "none.csv")
