"""Seconds of one operator: floor + max(flops / (peak · eff), bytes / (bandwidth · eff)).

The efficiencies are curves in the operator's shape. The defaults below are read off measured operators of A100, H100
and B200 (aiconfigurator's tables, 2026-11): good to about 20 % of an operator on these three and a guess elsewhere.
A calibration replaces the coefficients, not the code.
"""

from dataclasses import dataclass

import numpy as np

from weft.core.errors import PlanError
from weft.core.hardware import Device
from weft.core.units import Precision
from weft.cost.ops import Floats, Op, OpKind


@dataclass(frozen=True, slots=True)
class Efficiency:
    """Coefficients of the efficiency curves, and where they come from.

    A GEMM reaches `gemm_peak` of the datasheet rate, times m/(m+half_rows) · n/(n+half_columns) · k/(k+half_inner):
    half of it is lost where a dimension equals its half. Below 16 bits, scaling and format conversion leave
    `narrow_share` of the rate and of the bandwidth. Attention saturates in heads × query rows.
    """

    gemm_peak: float = 0.85
    gemm_half_rows: float = 64.0
    gemm_half_columns: float = 192.0
    gemm_half_inner: float = 192.0
    narrow_share: float = 0.8
    attention_peak: float = 0.62
    attention_half_rows: float = 32_000.0
    memory_peak: float = 0.8
    kernel_floor_s: float = 3e-6
    ring_peak: float = 0.8
    ring_hop_s: float = 1.1e-6
    one_shot_peak: float = 0.6
    one_shot_floor_s: float = 3e-6
    provenance: str = "datasheet"


DEFAULT_EFFICIENCY = Efficiency()


def peak_flops_per_s(device: Device, precision: Precision) -> float:
    """The dense datasheet rate; refused where the hardware does not run the format."""
    rate = device.flops_per_s.get(precision)
    if rate is None:
        formats = ", ".join(device.flops_per_s) or "no matrix format at all"
        raise PlanError(
            subject=device.id,
            problem=f"does not run {precision} (it runs {formats})",
            way_out="choose another precision or device",
        )
    return rate


def local_op_s(op: Op, device: Device, precision: Precision, efficiency: Efficiency = DEFAULT_EFFICIENCY) -> Floats:
    """One call of an operator that stays on its device (not a message)."""
    compute_s = op.flops / _reached_flops_per_s(op, device, precision, efficiency)
    memory_s = op.bytes_moved / (device.memory_bytes_per_s * _memory_share(op, precision, efficiency))
    return efficiency.kernel_floor_s + np.maximum(compute_s, memory_s)


def _reached_flops_per_s(op: Op, device: Device, precision: Precision, efficiency: Efficiency) -> Floats | float:
    if op.kind is OpKind.ATTENTION:
        rate = peak_flops_per_s(device, _attention_precision(device, precision))
        return rate * efficiency.attention_peak * op.rows / (op.rows + efficiency.attention_half_rows)
    share = efficiency.gemm_peak * _narrow_share(precision, efficiency)
    columns_share = op.columns / (op.columns + efficiency.gemm_half_columns)
    inner_share = op.inner / (op.inner + efficiency.gemm_half_inner)
    rows_share = op.rows / (op.rows + efficiency.gemm_half_rows)
    return peak_flops_per_s(device, precision) * share * columns_share * inner_share * rows_share


def _attention_precision(device: Device, precision: Precision) -> Precision:
    """Attention kernels gain almost nothing below 16 bits, so they are rated at fp16 wherever the device has it."""
    return Precision.FP16 if Precision.FP16 in device.flops_per_s else precision


def _memory_share(op: Op, precision: Precision, efficiency: Efficiency) -> float:
    narrow = _narrow_share(precision, efficiency) if op.kind is OpKind.GEMM else 1.0
    return efficiency.memory_peak * narrow


def _narrow_share(precision: Precision, efficiency: Efficiency) -> float:
    return efficiency.narrow_share if precision.bytes_per_element < Precision.FP16.bytes_per_element else 1.0
