"""Seconds of messages inside one replica: all-reduce of tensor parallelism, send of pipeline parallelism.

Inside a scale-up domain the better of two algorithms counts, as in the libraries: one-shot (every device reads all
others: one latency, (p−1) vectors) and two-shot (reduce-scatter, then all-gather: a longer latency, 2(p−1)/p vectors).
Beyond the domain a ring runs between domains over the network link, each device with its part of the vector.
"""

import math

import numpy as np

from weft.core.errors import PlanError
from weft.core.hardware import Device, Link
from weft.cost.arrays import Floats
from weft.cost.efficiency import CollectiveCurve

_PRIOR = CollectiveCurve()
_HOP_S = 1.1e-6


def all_reduce_s(
    message_bytes: Floats | float,
    devices: int,
    device: Device,
    link: Link | None = None,
    curve: CollectiveCurve = _PRIOR,
) -> Floats:
    """Sum a vector of `message_bytes` over `devices`; `link` joins scale-up domains and is needed only beyond one."""
    size = np.asarray(message_bytes, dtype=np.float64)
    if devices <= 1:
        return np.zeros_like(size)
    local = min(devices, scale_up_devices(device))
    inside_s = _scale_up_all_reduce_s(size, local, device, curve) if local > 1 else np.zeros_like(size)
    domains = math.ceil(devices / local)
    if domains == 1:
        return inside_s
    path = _required(link, device, devices)
    steps = 2 * (domains - 1)
    rate = path.bytes_per_s * curve.two_shot_peak
    return inside_s + steps * max(path.latency_s, _HOP_S) + steps / domains * (size / local) / rate


def send_s(message_bytes: Floats | float, device: Device, link: Link | None, curve: CollectiveCurve = _PRIOR) -> Floats:
    """Hand activations to the next pipeline stage: over the link where there is one, else inside the domain."""
    size = np.asarray(message_bytes, dtype=np.float64)
    if link is None and device.scale_up is not None:
        return curve.one_shot_floor_s + size / (device.scale_up.bytes_per_s * curve.two_shot_peak)
    path = _required(link, device, 2)
    return path.latency_s + size / (path.bytes_per_s * curve.two_shot_peak)


def scale_up_devices(device: Device) -> int:
    """How many devices one scale-up domain joins; 1 where there is no such network."""
    return device.scale_up.max_devices if device.scale_up else 1


def _scale_up_all_reduce_s(size: Floats, devices: int, device: Device, curve: CollectiveCurve) -> Floats:
    assert device.scale_up is not None
    rate = device.scale_up.bytes_per_s
    one_shot_s = curve.one_shot_floor_s + (devices - 1) * size / (rate * curve.one_shot_peak)
    twice = 2 * (devices - 1) / devices
    two_shot_s = curve.two_shot_floor_s + twice * size / (rate * curve.two_shot_peak)
    return np.minimum(one_shot_s, two_shot_s)


def _required(link: Link | None, device: Device, devices: int) -> Link:
    if link is None:
        raise PlanError(
            subject=f"{device.id} x {devices}",
            problem=f"its scale-up network joins {scale_up_devices(device)} and no link joins more",
            way_out="use a smaller replica or give the link between the machines",
        )
    return link
