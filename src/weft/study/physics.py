"""The one place where studies ask the cost model for the time of a step; what calibration changes arrives here.

Curves of operators by device give the parts of a step; the habits of the device and of the engine that its vendor
serves with scale them. A phase runs alone on its replica: nothing of the other phase is mixed in, and nobody queues.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

import numpy as np

from weft.core.deployment import Parallelism
from weft.core.hardware import Device, Link
from weft.core.model import ModelSpec
from weft.core.units import Precision
from weft.cost.arrays import Floats
from weft.cost.collectives import scale_up_devices, send_s
from weft.cost.habits import Labels
from weft.cost.serving import Part, by_part
from weft.cost.steps import Engine, decode_step, prefill
from weft.estimate.coefficients import coefficients
from weft.estimate.price import how_known_by
from weft.estimate.resolve import twin

ENGINES = {"NVIDIA": ("trtllm", "trtllm"), "AMD": ("vllm", "vllm 7.0"), "Intel": ("habana", "habana 2.4")}
"""The engine with which each vendor's devices are served, and its build; the average engine for others."""
AVERAGE = ("", "average")
LATE_START = 0.3
"""Share of a server's start_s that delays a first token without occupying the device (weft.cost.habits)."""


@dataclass(frozen=True, slots=True)
class Timing:
    """Arrays of the shape of the batches. `seconds` occupy the replica (of a prefill: what it takes in a stream of
    prompts), `latency_s` pass until the tokens are out, `communication_s` of them are messages. `offline_gain`: how
    much faster engines run when nothing is streamed."""

    seconds: Floats
    latency_s: Floats
    communication_s: Floats
    offline_gain: float
    provenance: str


def engine(model: ModelSpec, precision: Precision, device: Device, parallelism: Parallelism, link: Link) -> Engine:
    """A replica as the cost model sees it; beyond the scale-up domain it talks over the network."""
    beyond = parallelism.devices > scale_up_devices(device)
    efficiency = coefficients().efficiency(device.id)
    return Engine(model, device, parallelism, precision, link if beyond else None, efficiency)


def prefill_estimate(replica: Engine, tokens: int, batches: Floats | int = 1) -> Timing:
    """`batches` prompts of `tokens` tokens at once."""
    sizes = np.asarray(batches, dtype=np.float64)
    parts = _parts(by_part(prefill(replica, tokens, sizes), sizes.size), sizes)
    habits, known = _habits(replica, "prefill")
    local_s = parts[Part.WEIGHTS] + parts[Part.EXPERTS] + parts[Part.ATTENTION] + 0.7 * parts[Part.POINTWISE]
    talk_s = habits["prompt_messages"] * parts[Part.MESSAGES]
    packed_s = habits["compute"] * local_s + talk_s
    alone_s = packed_s + habits["prompt_launches"] * parts[Part.LAUNCHES] + habits["prompt_s"]
    latency_s = habits["ttft"] * (LATE_START * habits["start_s"] + alone_s)
    busy_s = habits["tpot"] * habits["mixing"] * packed_s
    offline = _habits(replica, "offline")[0]["offline"]
    return Timing(busy_s, latency_s, habits["ttft"] * talk_s, offline, known)


def decode_estimate(replica: Engine, context: int, batches: Floats | int) -> Timing:
    """One more token for each of `batches` sequences that hold `context` tokens."""
    sizes = np.asarray(batches, dtype=np.float64)
    parts = _parts(by_part(decode_step(replica, context, sizes), sizes.size), sizes)
    habits, known = _habits(replica, "decode")
    talk_s = habits["tpot"] * habits["messages"] * parts[Part.MESSAGES]
    step_s = sum(habits[part] * parts[part] for part in Part) + habits["step_s"] + habits["sequence_s"] * sizes
    seconds = habits["tpot"] * step_s
    return Timing(seconds, seconds, talk_s, _habits(replica, "offline")[0]["offline"], known)


def sends_s(replica: Engine, rows: Floats) -> Floats:
    """What handing the activations of `rows` tokens from stage to stage adds to a step of one stage's size."""
    split, wide_bytes = replica.parallelism, max(replica.precision.bytes_per_element, 2.0)
    if split.pp == 1:
        return np.zeros_like(rows)
    message = rows * replica.model.d_model * wide_bytes / split.tp
    return (split.pp - 1) * send_s(message, replica.device, replica.link, replica.efficiency.collective)


def _parts(seconds: Floats, sizes: Floats) -> Mapping[Part, Floats]:
    return {part: row.reshape(sizes.shape) for part, row in zip(Part, seconds, strict=True)}


def _habits(replica: Engine, kind: str) -> tuple[Mapping[str, float], str]:
    device = replica.device
    return _factors(device.id, device.vendor, twin(replica.model), f"{replica.precision}", kind)


@cache
def _factors(device: str, vendor: str, model: str, precision: str, kind: str) -> tuple[Mapping[str, float], str]:
    """Every coefficient of the device served by its vendor's engine, and how it is known. Dense models only."""
    using = coefficients()
    family, build = ENGINES.get(vendor, AVERAGE)
    labels = Labels(device, model, precision, family, build, kind, "tp", "dense", vendor)
    logs = using.habits.logs([labels])
    known = how_known_by(labels, using.habits, using.efficiencies)
    return {name: float(np.exp(value[0])) for name, value in logs.items()}, f"{known}"
