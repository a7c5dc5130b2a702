"""What is learned of how fast devices are: the closed form, and that noise, outliers and wonders teach nothing."""

from collections.abc import Iterable
from math import e
from random import Random

import pytest

from weft.core.errors import CapacityError
from weft.policy.calibration import Calibration, CalibrationConfig, Known, Seen

KEY = "m@h100.decode"


def looks(calibration: Calibration, ratios: Iterable[float], node: str = "D", passes: int = 20) -> list[int]:
    """One look for each; the looks at which the factor moved."""
    seen = ([Seen(KEY, node, 2.0, 2.0 * ratio, passes)] for ratio in ratios)
    return [at for at, each in enumerate(seen) if calibration.look(each)]


def test_a_device_that_is_slower_is_believed_after_enough_passes_and_told_once() -> None:
    calibration = Calibration()
    assert looks(calibration, [1.5] * 20) == [4]  # 100 passes
    assert calibration.factors == {KEY: pytest.approx(1.5)}
    told = calibration.known[KEY].told(KEY)
    assert told == "decode of m on h100 takes 1.50 × the model's time, from 400 passes"


def test_the_factor_is_the_ratio_of_sums() -> None:
    calibration = Calibration(config=CalibrationConfig(least=1, looks=1, lately=10**9, sure=0.0))
    calibration.look([Seen(KEY, "a", 1.0, 1.9, 1), Seen(KEY, "b", 3.0, 5.0, 1), Seen("m@h100.prefill", "a", 1, 1, 1)])
    assert calibration.factors == {KEY: pytest.approx(6.9 / 4.0)}


def test_old_passes_fade_as_an_exponential() -> None:
    config = CalibrationConfig(least=1, looks=1, lately=100, step=0.0, sure=0.0)
    calibration = Calibration(config=config)
    looks(calibration, [2.0, 3.0], passes=100)
    assert calibration.known[KEY].measured == pytest.approx((2.0 / e + 3.0) / (1 / e + 1))


def test_a_device_as_promised_and_noise_change_nothing() -> None:
    draw = Random(1)
    for spread in (0.0, 0.05, 0.3):
        calibration = Calibration()
        assert not looks(calibration, (draw.lognormvariate(-spread * spread / 2, spread) for _ in range(2000)))
        assert not calibration.factors


def test_a_true_change_is_found_through_noise_and_kept() -> None:
    draw, calibration = Random(2), Calibration()
    moved = looks(calibration, (draw.lognormvariate(0.0, 0.2) * 1.5 for _ in range(2000)))
    assert 1 <= len(moved) <= 3
    assert calibration.factors[KEY] == pytest.approx(1.5, rel=0.12)
    assert looks(calibration, [1.0] * 800), "and back"
    assert calibration.known[KEY].factor == pytest.approx(1.0, rel=0.1)


def test_one_slow_node_is_not_its_device() -> None:
    calibration = Calibration()
    for _ in range(50):
        calibration.look([Seen(KEY, name, 1.0, 3.0 if name == "c" else 1.0, 20) for name in "abc"])
    assert not calibration.factors
    for _ in range(100):
        calibration.look([Seen(KEY, name, 1.0, 3.0, 20) for name in "abc"])  # now all are
    assert calibration.factors == {KEY: pytest.approx(3.0, rel=0.1)}


def test_what_is_beyond_belief_is_bounded_and_said() -> None:
    calibration = Calibration()
    looks(calibration, [9.0] * 10)
    assert calibration.factors == {KEY: 4.0}
    told = calibration.known[KEY].told(KEY)
    assert "takes 4.00 × the model's time, from 200 passes: 9 was measured, beyond what is believed" in told
    looks(calibration, [0.01] * 2000)
    assert calibration.factors == {KEY: 0.25} and "0.01" in calibration.known[KEY].held


def test_it_begins_at_what_the_plan_was_made_with() -> None:
    calibration = Calibration({KEY: 1.3})
    assert calibration.factors == {KEY: 1.3}
    assert calibration.known[KEY].told(KEY) == "decode of m on h100 takes 1.30 × the model's time, as the plan has it"
    assert not looks(calibration, [1.3] * 100)
    assert looks(calibration, [1.0] * 800) and calibration.factors.get(KEY, 1.0) == pytest.approx(1.0, rel=0.1)
    assert Known(1.0, 1.08, 900).told(KEY).endswith("from 900 passes; 1.08 was measured, too little news")


@pytest.mark.parametrize("wrong", [{"least": 0}, {"step": -0.1}, {"most": 1.0}, {"outlier": 0.9}])
def test_impossible_terms_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(CapacityError, match="calibration"):
        CalibrationConfig(**wrong)  # pyright: ignore[reportArgumentType]
