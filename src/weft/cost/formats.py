"""Number formats of one engine: weights, matrix arithmetic, KV cache.

Checkpoints below 8 bits of mixture-of-experts models hold only the routed experts narrow (gpt-oss, Kimi, NVFP4
DeepSeek): their other weights stay at 16 bits. 4-bit weights run on every device: where the hardware has no 4-bit
arithmetic they are widened on the fly (weight-only) and computed at 16 bits. KV caches are never narrower than 8 bits.
"""

from dataclasses import dataclass

from weft.core.hardware import Device
from weft.core.model import ModelSpec
from weft.core.units import Precision


@dataclass(frozen=True, slots=True)
class Formats:
    """`weights` as stored and `matrix` as multiplied; `dense` replaces both outside the routed experts."""

    weights: Precision
    matrix: Precision
    dense: Precision
    kv: Precision

    @property
    def dense_weights(self) -> Precision:
        """How weights outside the routed experts are stored."""
        return self.weights if self.dense == self.matrix else self.dense


def default_formats(model: ModelSpec, precision: Precision) -> Formats:
    """What `precision` means for a model on hardware that runs it."""
    return _formats(model, precision, precision)


def formats_on(device: Device, model: ModelSpec, precision: Precision, weight_only: bool = False) -> Formats:
    """What `precision` means on a device; 4-bit weights fall back to 16-bit arithmetic, or do so when asked."""
    wide = precision is Precision.FP4 and (weight_only or Precision.FP4 not in device.flops_per_s)
    return _formats(model, precision, Precision.FP16 if wide else precision)


def _formats(model: ModelSpec, weights: Precision, matrix: Precision) -> Formats:
    narrow = weights.bytes_per_element < Precision.FP8.bytes_per_element
    dense = Precision.FP16 if narrow and model.experts is not None else matrix
    kv = weights if not narrow else Precision.FP8
    return Formats(weights, matrix, dense, kv)
