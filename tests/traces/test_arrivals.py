"""Arrival processes have the rate and the burstiness that they promise, and repeat exactly."""

from itertools import islice, pairwise

import numpy as np
import pytest

from weft.core.errors import InputError
from weft.traces.arrivals import ArrivalKind, Arrivals
from weft.traces.draws import Draws


@pytest.mark.parametrize("kind", list(ArrivalKind))
def test_rate_order_and_repetition(kind: ArrivalKind) -> None:
    process = Arrivals(kind, 10.0, cv=2.0, period_s=2.0)
    times = list(islice(process.times_s(1), 20_000))
    assert 20_000 / times[-1] == pytest.approx(10.0, rel=0.07)
    assert all(earlier <= later for earlier, later in pairwise(times))
    assert times == list(islice(process.times_s(1), 20_000))
    assert (times[0] != next(process.times_s(2))) == (kind is not ArrivalKind.UNIFORM)


@pytest.mark.parametrize(("kind", "cv"), [(ArrivalKind.POISSON, 1.0), (ArrivalKind.BURSTY, 3.0)])
def test_burstiness_of_gaps(kind: ArrivalKind, cv: float) -> None:
    gaps = np.diff(list(islice(Arrivals(kind, 5.0, cv=3.0).times_s(3), 100_000)))
    assert gaps.std() / gaps.mean() == pytest.approx(cv, rel=0.05)


def test_a_day_has_a_high_and_a_low_tide() -> None:
    process = Arrivals(ArrivalKind.DIURNAL, 50.0, swing=0.8, period_s=100.0)
    times = np.array(list(islice(process.times_s(1), 50_000))) % 100.0
    high, low = np.sum((times > 20) & (times < 30)), np.sum((times > 70) & (times < 80))
    assert high / low == pytest.approx(1.79 / 0.21, rel=0.15)


@pytest.mark.parametrize("numbers", [{"rate_per_s": 0.0}, {"cv": -1.0}, {"swing": 2.0}, {"period_s": 0.0}])
def test_impossible_processes_are_refused(numbers: dict[str, float]) -> None:
    with pytest.raises(InputError, match=next(iter(numbers))):
        Arrivals(ArrivalKind.POISSON, **({"rate_per_s": 1.0} | numbers))


def test_draws_belong_to_their_request() -> None:
    first, again, other = Draws(1, 5), Draws(1, 5), Draws(1, 6)
    values = [first.uniform() for _ in range(1000)]
    assert values == [again.uniform() for _ in range(1000)]
    assert values[0] != other.uniform()
    assert np.mean(values) == pytest.approx(0.5, abs=0.03)
    many = [Draws(2, number).lognormal(3.0, 0.5) for number in range(20_000)]
    assert np.mean(many) == pytest.approx(3.0, rel=0.02)
    assert np.std(many) == pytest.approx(1.5, rel=0.05)
