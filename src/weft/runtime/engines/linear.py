# pyright: standard
"""Matrices of a model: as they are, or in 8 bits with a scale for each output.

8-bit weights halve what a decode step reads. Activations and caches stay in bfloat16; on a CPU torch's own kernel
multiplies them with the 8-bit weights, elsewhere these are widened first.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

SCALES = ".scales"
"""After a weight's name: the name of its scales."""
LARGEST = 127


@dataclass(frozen=True, slots=True)
class Linear:
    weight: Tensor
    bias: Tensor | None = None

    def __call__(self, x: Tensor) -> Tensor:
        return functional.linear(x, self.weight, self.bias)


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


def joined(weights: Mapping[str, Tensor], names: Sequence[str]) -> Linear | Int8Linear:
    """Matrices of the same input, one above the other."""
    weight = torch.cat([weights[f"{name}.weight"] for name in names])
    given = [weights.get(f"{name}.bias") for name in names]
    biases = [bias for bias in given if bias is not None and len(bias)]  # of another rank's there is nothing
    bias = torch.cat(biases) if biases else None
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
