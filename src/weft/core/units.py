"""SI units inside, pretty units only when printed."""

from enum import StrEnum

KILO, MEGA, GIGA, TERA, PETA = 1e3, 1e6, 1e9, 1e12, 1e15
KIB = 1024
GIB = KIB**3
HOUR_S = 3600.0


class Precision(StrEnum):
    """A number format of weights, KV cache or arithmetic."""

    FP32 = "fp32"
    FP16 = "fp16"
    FP8 = "fp8"
    INT8 = "int8"
    FP4 = "fp4"

    @property
    def bytes_per_element(self) -> float:
        return _BYTES_PER_ELEMENT[self]


_BYTES_PER_ELEMENT = {
    Precision.FP32: 4.0,
    Precision.FP16: 2.0,
    Precision.FP8: 1.0,
    Precision.INT8: 1.0,
    Precision.FP4: 0.5,
}

_SI_PREFIXES = ((PETA, "P"), (TERA, "T"), (GIGA, "G"), (MEGA, "M"), (KILO, "k"))


def pretty_si(value: float, unit: str) -> str:
    """3.35e12, "B/s" -> "3.35 TB/s"."""
    for factor, prefix in _SI_PREFIXES:
        if abs(value) >= factor:
            return f"{value / factor:.3g} {prefix}{unit}"
    return f"{value:.3g} {unit}"


def pretty_seconds(seconds: float) -> str:
    if seconds >= 1:
        return f"{seconds:.2f} s"
    if seconds >= 1e-3:
        return f"{seconds * 1e3:.1f} ms"
    return f"{seconds * 1e6:.0f} µs"


def pretty_usd(usd: float) -> str:
    """Four significant digits below a cent, so that $/request stays readable."""
    return f"${usd:,.2f}" if abs(usd) >= 1 else f"${usd:.4g}"
