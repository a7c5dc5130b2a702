"""Bytes on one device of a replica: weights, KV cache, activations; and the largest batch that fits.

`USABLE_MEMORY` leaves room for the framework, communication buffers and fragmentation, as vLLM's default does.
"""

import math

import numpy as np

from weft.core.deployment import Parallelism
from weft.core.hardware import Device
from weft.core.model import ModelSpec
from weft.core.units import Precision
from weft.cost.arrays import Floats
from weft.cost.attention import attention_plan
from weft.cost.formats import Formats, default_formats
from weft.cost.sharding import kv_bytes_per_token

USABLE_MEMORY = 0.9
"""Share of a device's memory that a replica may fill."""


def expert_params(model: ModelSpec) -> float:
    """Parameters of all routed experts."""
    experts = model.experts
    if experts is None:
        return 0.0
    return 3.0 * model.d_model * experts.ffn * experts.count * (model.layers - experts.dense_layers)


def stored_bytes(model: ModelSpec, formats: Formats) -> float:
    """All weights of the model, each at its format."""
    routed = min(expert_params(model), model.params_total)
    dense = model.params_total - routed
    return routed * formats.weights.bytes_per_element + dense * formats.dense_weights.bytes_per_element


def weight_bytes(
    model: ModelSpec, precision: Precision, parallelism: Parallelism, formats: Formats | None = None
) -> float:
    """On one device. Data-parallel attention copies what is not in routed experts."""
    formats = formats or default_formats(model, precision)
    routed = min(expert_params(model), model.params_total) * formats.weights.bytes_per_element
    dense = stored_bytes(model, formats) - routed
    return dense / (parallelism.tp * parallelism.pp) + routed / parallelism.devices


def kv_bytes(model: ModelSpec, precision: Precision, parallelism: Parallelism, tokens: float) -> float:
    """KV cache of `tokens` tokens (all sequences together) on one device; every layer as if it held all tokens."""
    formats = default_formats(model, precision)
    return kv_bytes_per_token(model, formats.kv, parallelism) / (parallelism.pp * parallelism.dp) * tokens


def kv_bytes_per_sequence(model: ModelSpec, formats: Formats, parallelism: Parallelism, tokens: Floats) -> Floats:
    """KV cache of one sequence of each length in `tokens`, in all devices of its group.
    Windows cap what their layers hold."""
    plan = attention_plan(model)
    caching = plan.full_layers + plan.window_layers
    windowed = np.minimum(tokens, plan.window) if plan.window else tokens
    held = (plan.full_layers * tokens + plan.window_layers * windowed) / max(caching, 1)
    state = 4.0 * plan.linear_layers * plan.state / parallelism.tp
    return (kv_bytes_per_token(model, formats.kv, parallelism) * held + state) / parallelism.pp


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
