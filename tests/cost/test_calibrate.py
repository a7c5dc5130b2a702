"""Fits find what made the data."""

import numpy as np
import pytest

from tests.cost.builders import H100
from weft.core.units import Precision
from weft.cost.bands import METRICS, Known, fit_bands
from weft.cost.calibrate import Measured, fit
from weft.cost.collectives import all_reduce_s
from weft.cost.efficiency import AttentionCurve, CollectiveCurve, GemmCurve
from weft.cost.habits import START, Habits, Labels, Runs, predict
from weft.cost.operator_fit import AllReduceRows, AttentionRows, GemmRows, fit_attention, fit_collective, fit_gemm
from weft.cost.ops import Op, OpKind
from weft.cost.roofline import attention_work_s, gemm_work_s

RANDOM = np.random.default_rng(1)


def test_a_gemm_curve_is_found_again():
    truth = GemmCurve(0.7, 80.0, 300.0, 150.0, 0.75, 4e-6)
    rows, columns, inner = (2.0 ** RANDOM.integers(low, 14, 500) for low in (0, 8, 8))
    moved = 2.0 * inner * (rows + columns) + 2.0 * rows * columns
    flops = 2 * rows * columns * inner
    seconds = np.array(
        [
            truth.floor_s + float(gemm_work_s(Op("gemm", OpKind.GEMM, 1, *row), 989e12, H100, truth))
            for row in zip(rows, columns, inner, flops, moved, strict=True)
        ]
    )
    found, residual = fit_gemm(GemmRows(rows, columns, inner, seconds), H100, Precision.FP16, 2.0)
    assert residual.p80 < 0.01
    assert (found.peak, found.memory, found.floor_s) == pytest.approx((0.7, 0.75, 4e-6), rel=0.05)


def test_an_attention_curve_is_found_again():
    truth = AttentionCurve(0.5, 0.7, 5_000.0, 300.0, 8e-6)
    keys = 2.0 ** RANDOM.integers(6, 14, 400)
    rows = keys * 2.0 ** RANDOM.integers(0, 8, 400)
    flops, moved = rows * keys * 256.0, rows * 512.0
    op = Op("attention", OpKind.ATTENTION, 1, rows, keys, 1.0, flops, moved)
    seconds = truth.floor_s + attention_work_s(op, 989e12, H100, truth)
    found, residual = fit_attention(AttentionRows(rows, keys, flops, moved, seconds), H100)
    assert residual.p80 < 0.02
    assert (found.peak, found.half_keys) == pytest.approx((0.5, 300.0), rel=0.1)


def test_a_collective_curve_is_found_again():
    truth = CollectiveCurve(0.6, 4e-6, 0.7, 2.5e-5)
    sizes = 2.0 ** np.arange(8, 28)
    groups = tuple(AllReduceRows(n, sizes, all_reduce_s(sizes, n, H100, None, truth)) for n in (2, 4, 8))
    found, residual = fit_collective(groups, H100)
    assert residual.p80 < 0.02
    assert found.two_shot_peak == pytest.approx(0.7, rel=0.05)


def some_runs(count: int) -> Runs:
    seconds = np.exp(RANDOM.normal(-6.0, 0.5, (6, count)))
    ones = np.ones(count)
    running = 2.0 ** RANDOM.integers(0, 8, count)
    none = 0 * ones
    return Runs(seconds, 20 * seconds, 15 * seconds, running, none, ones, 512 * ones, none, none)


def labels(device: str, engine: str) -> Labels:
    return Labels(device, "model", "fp8", engine, f"{engine} 1.0", "server", "tp", "dense", "vendor")


def truth_of(slow: float) -> Habits:
    return Habits({name: float(np.log(value)) for name, value in START.items()}, {"device": {"slow": {"tpot": slow}}})


def seen_of(habits: Habits, runs: Runs, who: list[Labels]) -> np.ndarray:
    seen = predict(runs, habits.logs(who))
    return np.stack([seen.ttft_s, seen.tpot_s, seen.tokens_per_s])


def test_a_slow_device_is_found_and_the_unknown_one_gets_the_average():
    runs = some_runs(120)
    who = [labels("slow" if at % 2 else "fast", "vllm" if at % 3 else "sglang") for at in range(120)]
    values = seen_of(truth_of(0.5), runs, who)
    habits = fit(runs, who, Measured(values, np.ones(120)))
    again = seen_of(habits, runs, who)
    assert np.median(np.abs(again / values - 1)) < 0.03
    fast, unknown, slow = (
        seen_of(habits, runs, [labels(name, "vllm")] * 120)[1].mean() for name in ("fast", "new", "slow")
    )
    assert fast < unknown < slow


def test_a_fit_repeats_exactly():
    runs, who = some_runs(40), [labels("h100", "vllm")] * 40
    measured = Measured(seen_of(truth_of(0.0), runs, who) * np.exp(RANDOM.normal(0, 0.1, (3, 40))), np.ones(40))
    assert fit(runs, who, measured) == fit(runs, who, measured)


def test_bands_hold_what_they_promise():
    """Made from half of 4,000 errors of two devices, judged on the other half."""
    devices = ["calm" if at % 2 else "wild" for at in range(4000)]
    spread = np.array([0.05 if name == "calm" else 0.5 for name in devices])
    errors = RANDOM.normal(0, 1, (3, 4000)) * spread
    half = np.arange(4000) < 2000
    bands = fit_bands(np.where(half, errors, np.nan), [Known.MEASURED] * 4000, devices)
    for name in ("calm", "wild"):
        low, high = bands.of(METRICS[0], Known.MEASURED, name)
        mine = errors[0][~half & (np.array(devices) == name)]
        assert 0.80 <= np.mean((mine >= low) & (mine <= high)) <= 0.92
    low, high = bands.of(METRICS[0], Known.DATASHEET, "calm")
    assert high - low > 2.0
