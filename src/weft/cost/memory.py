"""Bytes on one device of a replica: weights, KV cache, activations; and the largest batch that fits.

`USABLE_MEMORY` leaves room for the framework, communication buffers and fragmentation, as vLLM's default does.
"""

import math

from weft.core.deployment import Parallelism
from weft.core.hardware import Device
from weft.core.model import ModelSpec
from weft.core.units import Precision
from weft.cost.sharding import kv_bytes_per_token

USABLE_MEMORY = 0.9
"""Share of a device's memory that a replica may fill."""


def weight_bytes(model: ModelSpec, precision: Precision, parallelism: Parallelism) -> float:
    return model.weight_bytes(precision) / (parallelism.tp * parallelism.pp)


def kv_bytes(model: ModelSpec, precision: Precision, parallelism: Parallelism, tokens: float) -> float:
    """KV cache of `tokens` tokens (all sequences together) on one device."""
    return kv_bytes_per_token(model, precision, parallelism) / parallelism.pp * tokens


def activation_bytes(model: ModelSpec, precision: Precision, parallelism: Parallelism, rows: float) -> float:
    """The widest moment of a layer for `rows` tokens: residual, normed copy, gate and up."""
    experts = model.experts
    width = model.ffn if experts is None else max(model.ffn, (experts.active + experts.shared) * experts.ffn)
    wide_bytes = max(precision.bytes_per_element, Precision.FP16.bytes_per_element)
    return rows * wide_bytes * (2 * model.d_model + 2 * width / parallelism.tp)


def replica_bytes(
    model: ModelSpec, precision: Precision, parallelism: Parallelism, batch: int, tokens: int, rows: int
) -> float:
    """Needed on one device: `batch` sequences of at most `tokens` tokens, `rows` tokens in flight at once."""
    return (
        weight_bytes(model, precision, parallelism)
        + kv_bytes(model, precision, parallelism, batch * tokens)
        + activation_bytes(model, precision, parallelism, rows)
    )


def usable_bytes(device: Device) -> float:
    return device.memory_bytes * USABLE_MEMORY


def largest_batch(
    model: ModelSpec, device: Device, precision: Precision, parallelism: Parallelism, tokens: int, rows_each: int
) -> int:
    """Most sequences of `tokens` tokens that fit, each with `rows_each` tokens in flight; 0 where none does."""
    free_bytes = usable_bytes(device) - weight_bytes(model, precision, parallelism)
    each_bytes = replica_bytes(model, precision, parallelism, 1, tokens, rows_each) - weight_bytes(
        model, precision, parallelism
    )
    return max(0, math.floor(free_bytes / each_bytes))
