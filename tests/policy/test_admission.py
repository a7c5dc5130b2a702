"""Admission before a queue computed by hand: who is admitted is in time, who is refused could not be."""

import random

from hypothesis import given, settings
from hypothesis import strategies as st

from weft.core.workload import Slo
from weft.policy.admission import Admission, AdmissionConfig

SERVICE_S, BOUND_S = 1.0, 4.0


@given(st.lists(st.floats(0, 3), max_size=60))
def test_with_true_predictions_exactly_the_late_are_refused(gaps: list[float]) -> None:
    admission = Admission(Slo("s", e2e_s=BOUND_S))
    now = free_at = 0.0
    for gap in gaps:
        now += gap
        finish_s = max(free_at - now, 0.0) + SERVICE_S
        verdict = admission.decide(finish_s, finish_s)
        assert verdict.admitted == (finish_s <= BOUND_S)
        if verdict.admitted:
            free_at = now + finish_s
        else:
            assert max(free_at - (now + verdict.retry_after_s), 0.0) + SERVICE_S <= BOUND_S * (1 + 1e-9)


def _overload(admission: Admission | None, error: float) -> int:
    """Requests in time out of 2,000 that come twice as fast as they are served; predictions are wrong by a factor."""
    draw, now, free_at, good = random.Random(0), 0.0, 0.0, 0
    for _ in range(2000):
        now += draw.expovariate(2.0)
        finish_s = max(free_at - now, 0.0) + SERVICE_S
        if admission is None or admission.decide(finish_s / error, finish_s / error).admitted:
            free_at = now + finish_s
            good += finish_s <= BOUND_S
            if admission is not None:
                admission.observe(finish_s / error, finish_s)
    return good


def test_overload_serves_at_capacity_instead_of_nobody() -> None:
    assert _overload(None, 1.0) < 50
    assert _overload(Admission(Slo("s", e2e_s=BOUND_S)), 1.0) > 950


def test_optimistic_predictions_are_corrected() -> None:
    uncorrected = AdmissionConfig(rate=0.0)
    assert _overload(Admission(Slo("s", e2e_s=BOUND_S), uncorrected), 3.0) < 50
    assert _overload(Admission(Slo("s", e2e_s=BOUND_S)), 3.0) > 850


@settings(deadline=None)
@given(st.integers(0, 1000))
def test_the_correction_finds_the_quantile(seed: int) -> None:
    draw, admission = random.Random(seed), Admission(Slo("s"), AdmissionConfig(quantile=0.9, rate=0.02))
    for _ in range(4000):
        admission.observe(1.0, 1.0 + draw.random())
    assert 1.75 < admission.correction < 2.05


def test_the_reason_names_value_and_bound() -> None:
    verdict = Admission(Slo("s", ttft_s=0.5, e2e_s=9.0)).decide(1.25, 3.0)
    assert verdict == (False, "TTFT 1.25 s expected, bound is 0.5 s", 0.75)
    assert Admission(Slo("s")).decide(1e9, 1e9).admitted
