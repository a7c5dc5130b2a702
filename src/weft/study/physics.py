"""The one place where studies ask the cost model for the time of a step; what calibration changes arrives here."""

import numpy as np

from weft.core.deployment import Parallelism
from weft.core.hardware import Device, Link
from weft.core.model import ModelSpec
from weft.core.units import Precision
from weft.cost.collectives import scale_up_devices, send_s
from weft.cost.ops import Floats
from weft.cost.steps import Engine, StepEstimate, decode_step, prefill


def engine(model: ModelSpec, precision: Precision, device: Device, parallelism: Parallelism, link: Link) -> Engine:
    """A replica as the cost model sees it; beyond the scale-up domain it talks over the network."""
    beyond = parallelism.devices > scale_up_devices(device)
    return Engine(model, device, parallelism, precision, link if beyond else None)


def prefill_estimate(replica: Engine, tokens: int, batches: Floats | int = 1) -> StepEstimate:
    """`batches` prompts of `tokens` tokens at once."""
    return prefill(replica, tokens, batches)


def sends_s(replica: Engine, rows: Floats) -> Floats:
    """What handing the activations of `rows` tokens from stage to stage adds to a step of one stage's size."""
    split, wide_bytes = replica.parallelism, max(replica.precision.bytes_per_element, 2.0)
    if split.pp == 1:
        return np.zeros_like(rows)
    message = rows * replica.model.d_model * wide_bytes / split.tp
    return (split.pp - 1) * send_s(message, replica.device, replica.link, replica.efficiency)


def decode_estimate(replica: Engine, context: int, batches: Floats | int) -> StepEstimate:
    """One more token for each of `batches` sequences that hold `context` tokens."""
    return decode_step(replica, context, batches)
