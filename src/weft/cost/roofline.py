"""Seconds of one operator: floor + max(flops / (peak · eff), bytes / (bandwidth · eff)), eff a curve in its shape."""

import numpy as np

from weft.core.errors import PlanError
from weft.core.hardware import Device
from weft.core.units import Precision
from weft.cost.arrays import Floats
from weft.cost.efficiency import AttentionCurve, Efficiency, GemmCurve
from weft.cost.ops import Op, OpKind

_ATTENTION = (OpKind.ATTENTION, OpKind.GENERATION, OpKind.LATENT)
_MATRIX = (OpKind.GEMM, OpKind.EXPERT)


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


def floor_s(op: Op, efficiency: Efficiency) -> float:
    """The least that one call of an operator takes."""
    if op.kind in _MATRIX:
        return efficiency.gemm[op.precision].floor_s
    if op.kind in _ATTENTION:
        return _attention_curve(op, efficiency).floor_s
    return efficiency.pointwise_floor_s


def work_s(op: Op, device: Device, efficiency: Efficiency) -> Floats:
    """One call beyond its floor."""
    if op.kind in _MATRIX:
        return gemm_work_s(op, peak_flops_per_s(device, op.precision), device, efficiency.gemm[op.precision])
    if op.kind in _ATTENTION:
        rate = peak_flops_per_s(device, _attention_precision(device, op.precision))
        return attention_work_s(op, rate, device, _attention_curve(op, efficiency))
    return np.asarray(op.bytes_moved / (device.memory_bytes_per_s * efficiency.pointwise_memory))


def gemm_work_s(op: Op, flops_per_s: float, device: Device, curve: GemmCurve) -> Floats:
    columns_share = op.columns / (op.columns + curve.half_columns)
    inner_share = op.inner / (op.inner + curve.half_inner)
    rows_share = op.rows / (op.rows + curve.half_rows)
    compute_s = op.flops / (flops_per_s * curve.peak * columns_share * inner_share * rows_share)
    return np.maximum(compute_s, op.bytes_moved / (device.memory_bytes_per_s * curve.memory))


def attention_work_s(op: Op, flops_per_s: float, device: Device, curve: AttentionCurve) -> Floats:
    compute_s = op.flops / (flops_per_s * curve.peak) * (1.0 + curve.half_keys / np.maximum(op.columns, 1.0))
    ideal_s = np.maximum(compute_s, op.bytes_moved / (device.memory_bytes_per_s * curve.memory))
    return ideal_s * (1.0 + curve.half_rows / np.maximum(op.rows, 1.0))


def _attention_curve(op: Op, efficiency: Efficiency) -> AttentionCurve:
    """Latent decoding shares each cached token among all heads, so its arithmetic is as dense as a prompt's."""
    context, generation = efficiency.context, efficiency.generation
    if op.kind is OpKind.ATTENTION:
        return context
    if op.kind is OpKind.GENERATION:
        return generation
    return AttentionCurve(context.peak, generation.memory, generation.half_rows, 1.0, generation.floor_s)


def _attention_precision(device: Device, precision: Precision) -> Precision:
    """Attention kernels gain almost nothing below 16 bits, so they are rated at fp16 wherever the device has it."""
    return Precision.FP16 if Precision.FP16 in device.flops_per_s else precision
