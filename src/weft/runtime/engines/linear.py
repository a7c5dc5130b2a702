# pyright: standard
"""Matrices of a model: as they are, in the order that oneDNN reads fastest, or in 8 bits with a scale for each output.

A product with few rows (a decode step) takes as long as reading the matrix does, if that goes well. On x86 the order
of `PackedLinear` is 1.3 to 1.7 times faster than rows for 2 to 16 rows of float32, never slower, and no larger.

8-bit weights halve what a decode step reads. Activations and caches stay in bfloat16; on a CPU torch's own kernel
multiplies them with the 8-bit weights, elsewhere these are widened first.
"""

import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

SCALES = ".scales"
"""After a weight's name: the name of its scales."""
LARGEST = 127
PACKED_FOR = 64
"""Rows: oneDNN chooses the order by it. That for 64 is as good for all others."""

_PACKS = platform.machine() in ("x86_64", "AMD64") and hasattr(torch.ops.mkldnn, "_reorder_linear_weight")


@dataclass(frozen=True, slots=True)
class Linear:
    weight: Tensor
    bias: Tensor | None = None

    def __call__(self, x: Tensor) -> Tensor:
        return functional.linear(x, self.weight, self.bias)


@dataclass(frozen=True, slots=True)
class PackedLinear:
    """float32 on an x86 CPU. The weight's bytes are oneDNN's affair, which makes code for each number of rows that it
    sees and keeps it, 100 kB or so: few numbers are shown to it."""

    weight: Tensor
    bias: Tensor | None = None

    def __call__(self, x: Tensor) -> Tensor:
        rows = len(x)
        shown = shown_rows(rows)
        if shown != rows:
            x = functional.pad(x, (0, 0, 0, shown - rows))
        return torch.ops.mkldnn._linear_pointwise(x, self.weight, self.bias, "none", [], "")[:rows]


def shown_rows(rows: int) -> int:
    """The next of 1, 2, …, 16, 24, …, 64, 80, …, 256, 320, …: at most 7 rows, or a quarter, more."""
    step = 1 if rows <= 16 else 8 if rows <= 64 else 16 if rows <= 256 else 64
    return -(-rows // step) * step


@dataclass(frozen=True, slots=True)
class Int8Linear:
    """`weight` is int8, `scales` (outputs,) in the number format of the activations."""

    weight: Tensor
    scales: Tensor
    bias: Tensor | None = None

    def __call__(self, x: Tensor) -> Tensor:
        if x.device.type == "cpu" and x.dtype == torch.bfloat16:  # in float32 that kernel is 5 to 60 times slower
            product = torch.ops.aten._weight_int8pack_mm(x.contiguous(), self.weight, self.scales)
        else:
            product = functional.linear(x, self.weight.to(x.dtype)) * self.scales
        return product if self.bias is None else product + self.bias


Matrix = Linear | PackedLinear | Int8Linear


def joined(weights: Mapping[str, Tensor], names: Sequence[str]) -> Matrix:
    """Matrices of the same input, one above the other."""
    weight = torch.cat([weights[f"{name}.weight"] for name in names])
    given = [weights.get(f"{name}.bias") for name in names]
    biases = [bias for bias in given if bias is not None and len(bias)]  # of another rank's there is nothing
    bias = torch.cat(biases) if biases else None
    if _PACKS and weight.dtype == torch.float32 and weight.device.type == "cpu":
        return PackedLinear(torch.ops.mkldnn._reorder_linear_weight(weight, PACKED_FOR), bias)
    if weight.dtype != torch.int8:
        return Linear(weight, bias)
    return Int8Linear(weight, torch.cat([weights[f"{name}.weight{SCALES}"] for name in names]), bias)


def quantised(weight: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """(outputs, inputs) in 8 bits, and the scales in `dtype`. Each number is off by half its scale at most."""
    wide = weight.float()
    smallest = torch.finfo(torch.float32).tiny  # a row of zeros must not divide by zero
    scales = (wide.abs().amax(dim=1) / LARGEST).clamp_min(smallest).to(dtype)
    numbers = (wide / scales.float()[:, None]).round().clamp(-LARGEST, LARGEST)
    return numbers.to(torch.int8), scales
