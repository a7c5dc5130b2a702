"""Energy of busy devices. The power draw is the TDP times a utilisation, as in the price of a device-hour."""

from weft.core.errors import CatalogError
from weft.core.hardware import Device


def power_w(device: Device, utilisation: float = 1.0) -> float:
    if device.tdp_w is None:
        raise CatalogError(
            subject=device.id,
            problem="has no TDP in the catalogue, so its power cannot be told",
            way_out="add tdp_w to its row, or use a cloud price",
        )
    return device.tdp_w * utilisation


def energy_j(device: Device, devices: int, busy_s: float, utilisation: float = 1.0) -> float:
    """Joules that `devices` equal devices draw in `busy_s` seconds."""
    return power_w(device, utilisation) * devices * busy_s
