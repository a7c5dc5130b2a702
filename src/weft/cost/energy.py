"""Energy of devices: power between idle and TDP by how busy a device is, and joules of busy time and of a request."""

from weft.core.errors import CatalogError
from weft.core.hardware import Device


def power_w(device: Device, utilisation: float = 1.0, idle_share: float = 0.0) -> float:
    """`idle_share` of the TDP when idle, all of it when busy, a straight line between."""
    if device.tdp_w is None:
        raise CatalogError(
            subject=device.id,
            problem="has no TDP in the catalogue, so its power cannot be told",
            way_out="add tdp_w to its row, or use a cloud price",
        )
    return device.tdp_w * (idle_share + (1.0 - idle_share) * utilisation)


def energy_j(device: Device, devices: int, busy_s: float, utilisation: float = 1.0) -> float:
    """Joules that `devices` equal devices draw in `busy_s` seconds."""
    return power_w(device, utilisation) * devices * busy_s


def request_energy_j(shares: tuple[tuple[Device, float], ...], pue: float = 1.0) -> float:
    """Joules at the meter of one request that takes, of each device, so many device-seconds at full power."""
    return pue * sum(power_w(device) * device_s for device, device_s in shares)
