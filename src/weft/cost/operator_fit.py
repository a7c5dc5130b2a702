"""Fits the efficiency curves of one device to measured operators: a few coefficients each, robust, on log errors.

Pure: takes arrays, gives curves with their residuals. Bounds keep a coefficient physical where the data do not reach.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.optimize import least_squares

from weft.core.hardware import Device
from weft.core.units import Precision
from weft.cost.arrays import Floats
from weft.cost.collectives import all_reduce_s
from weft.cost.efficiency import AttentionCurve, CollectiveCurve, GemmCurve, Residual
from weft.cost.ops import Op, OpKind
from weft.cost.roofline import attention_work_s, gemm_work_s, peak_flops_per_s

_GEMM_BOUNDS = ((0.05, 1.3), (1.0, 2e3), (1.0, 8e3), (1.0, 4e3), (0.1, 1.05), (5e-7, 1e-4))
_ATTENTION_BOUNDS = ((0.02, 1.2), (0.05, 1.05), (1.0, 1e7), (0.5, 2e4), (5e-7, 1e-4))
_COLLECTIVE_BOUNDS = ((0.05, 1.2), (5e-7, 1e-4), (0.05, 1.2), (5e-7, 1e-3))


@dataclass(frozen=True, slots=True)
class GemmRows:
    """Measured GEMMs of one number format: rows × inner times inner × columns, and seconds of one call."""

    rows: Floats
    columns: Floats
    inner: Floats
    seconds: Floats


@dataclass(frozen=True, slots=True)
class AttentionRows:
    """Measured attention: what an `Op` says of each call, and its seconds."""

    rows: Floats
    keys: Floats
    flops: Floats
    bytes_moved: Floats
    seconds: Floats


@dataclass(frozen=True, slots=True)
class AllReduceRows:
    devices: int
    message_bytes: Floats
    seconds: Floats


def fit_gemm(rows: GemmRows, device: Device, precision: Precision, weight_bytes: float) -> tuple[GemmCurve, Residual]:
    """`weight_bytes` per element of both operands, scales included."""
    rate = peak_flops_per_s(device, precision)
    moved = weight_bytes * rows.inner * (rows.rows + rows.columns) + 2.0 * rows.rows * rows.columns
    op = Op(
        "gemm",
        OpKind.GEMM,
        1,
        rows.rows,
        flops=2.0 * rows.rows * rows.columns * rows.inner,
        bytes_moved=moved,
    )

    def predict(values: Floats) -> Floats:
        curve = GemmCurve(*(float(value) for value in values))
        shares = rows.columns / (rows.columns + curve.half_columns) * rows.inner / (rows.inner + curve.half_inner)
        flat = GemmCurve(curve.peak, curve.half_rows, 0.0, 0.0, curve.memory, curve.floor_s)
        compute_s = gemm_work_s(_scaled(op, shares), rate, device, flat)
        return curve.floor_s + compute_s

    values, residual = _fit(predict, rows.seconds, (0.8, 64.0, 200.0, 200.0, 0.8, 4e-6), _GEMM_BOUNDS)
    return GemmCurve(*values), residual


def _scaled(op: Op, shares: Floats) -> Op:
    """The same call with flops divided by what shape leaves of the rate."""
    return Op(op.name, op.kind, 1, op.rows, 1.0, 1.0, np.asarray(op.flops) / shares, op.bytes_moved)


def fit_attention(rows: AttentionRows, device: Device) -> tuple[AttentionCurve, Residual]:
    rate = peak_flops_per_s(device, Precision.FP16)
    op = Op("attention", OpKind.ATTENTION, 1, rows.rows, rows.keys, 1.0, rows.flops, rows.bytes_moved)

    def predict(values: Floats) -> Floats:
        curve = AttentionCurve(*(float(value) for value in values))
        return curve.floor_s + attention_work_s(op, rate, device, curve)

    values, residual = _fit(predict, rows.seconds, (0.5, 0.8, 1e4, 100.0, 5e-6), _ATTENTION_BOUNDS)
    return AttentionCurve(*values), residual


def fit_collective(groups: tuple[AllReduceRows, ...], device: Device) -> tuple[CollectiveCurve, Residual]:
    measured = np.concatenate([group.seconds for group in groups])

    def predict(values: Floats) -> Floats:
        curve = CollectiveCurve(*(float(value) for value in values))
        return np.concatenate(
            [all_reduce_s(group.message_bytes, group.devices, device, None, curve) for group in groups]
        )

    starts = ((0.6, 3e-6, 0.8, 1.8e-5), (0.6, 3e-6, 0.6, 5e-6), (0.3, 1e-5, 0.3, 1e-4))
    fits = [_fit(predict, measured, start, _COLLECTIVE_BOUNDS) for start in starts]
    values, residual = min(fits, key=lambda found: found[1].median)
    return CollectiveCurve(*values), residual


def _fit(
    predict: Callable[[Floats], Floats],
    measured: Floats,
    start: tuple[float, ...],
    bounds: tuple[tuple[float, float], ...],
) -> tuple[tuple[float, ...], Residual]:
    """Least squares of log errors with a soft-L1 loss, in the logarithms of the coefficients."""
    low, high = np.log(np.array(bounds)).T

    def errors(logs: Floats) -> Floats:
        return np.log(predict(np.exp(logs)) / measured)

    found = least_squares(errors, np.log(start), bounds=(low, high), loss="soft_l1", f_scale=0.1, max_nfev=80)
    off = np.abs(np.expm1(errors(found.x)))
    residual = Residual(measured.size, float(np.median(off)), float(np.quantile(off, 0.8)))
    return tuple(float(value) for value in np.exp(found.x)), residual
