"""Efficiency curves of one device: how much of its datasheet rates an operator of a given shape reaches.

The coefficients are data. `DEFAULT_EFFICIENCY` is the documented prior for devices of which nothing was measured: the
middle of the fitted devices. `weft calibrate` fits the others; the catalogue ships them (efficiency.toml).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from weft.core.units import Precision


@dataclass(frozen=True, slots=True)
class GemmCurve:
    """`peak` of the matrix rate, times m/(m+half_rows) · n/(n+half_columns) · k/(k+half_inner); `memory` of the
    bandwidth. Below 16 bits the curve includes the conversion of the inputs."""

    peak: float
    half_rows: float
    half_columns: float
    half_inner: float
    memory: float
    floor_s: float


@dataclass(frozen=True, slots=True)
class AttentionCurve:
    """`peak` of the 16-bit rate, times k/(k+half_keys), and `memory` of the bandwidth; both times r/(r+half_rows).
    r and k as in `Op.rows` and `Op.columns`: what runs side by side, and the tokens that one query can see."""

    peak: float
    memory: float
    half_rows: float
    half_keys: float
    floor_s: float


@dataclass(frozen=True, slots=True)
class CollectiveCurve:
    """Shares of the scale-up rate and latencies of the one-shot and the two-shot all-reduce; a ring between domains
    takes the two-shot's share."""

    one_shot_peak: float = 0.6
    one_shot_floor_s: float = 3.5e-6
    two_shot_peak: float = 0.8
    two_shot_floor_s: float = 1.8e-5


_PRIOR_GEMM: Mapping[Precision, GemmCurve] = MappingProxyType(
    {
        Precision.FP32: GemmCurve(0.75, 64.0, 100.0, 100.0, 0.8, 3e-6),
        Precision.FP16: GemmCurve(0.75, 100.0, 60.0, 100.0, 0.8, 3e-6),
        Precision.FP8: GemmCurve(0.72, 100.0, 1600.0, 220.0, 0.8, 12e-6),
        Precision.INT8: GemmCurve(0.72, 100.0, 1600.0, 220.0, 0.8, 12e-6),
        Precision.FP4: GemmCurve(0.9, 500.0, 4000.0, 100.0, 0.5, 7e-6),
    }
)


@dataclass(frozen=True, slots=True)
class Efficiency:
    """All curves of one device, and where they come from (measured, fitted, datasheet)."""

    gemm: Mapping[Precision, GemmCurve] = field(default_factory=lambda: _PRIOR_GEMM)
    context: AttentionCurve = AttentionCurve(0.6, 0.2, 10_000.0, 500.0, 1.2e-5)
    generation: AttentionCurve = AttentionCurve(0.1, 0.75, 1000.0, 1.0, 1e-5)
    collective: CollectiveCurve = CollectiveCurve()
    pointwise_memory: float = 0.8
    pointwise_floor_s: float = 3e-6
    provenance: str = "datasheet"


DEFAULT_EFFICIENCY = Efficiency()


@dataclass(frozen=True, slots=True)
class Residual:
    """Of a fitted curve on the rows it was fitted to: median and 80th percentile of |predicted/measured − 1|."""

    rows: int
    median: float
    p80: float
