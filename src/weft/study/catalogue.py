"""Study `catalogue`: the paper's Figure 4, what a unit of each resource costs on each device.

Resources: memory bandwidth (GB/s), dense FP16 and FP8 compute (TFLOPS), memory (GB). Prices: the device's own, and its
device-hour under a finance; the order of the devices depends on which.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from weft import catalog
from weft.core.errors import CatalogError
from weft.core.hardware import Device
from weft.core.units import GIGA, TERA, Precision
from weft.cost.tco import usd_per_hour
from weft.study.space import EXTENSION_DEVICES, PAPER_DEVICES

RESOURCES = ("GB/s", "TFLOPS FP16", "TFLOPS FP8", "GB")
PRICES = ("price", "paper", "owned", "cloud")
"""The purchase price in USD, or USD per hour under a finance."""


@dataclass(frozen=True, slots=True)
class Row:
    """`usd_per_unit` is None where the device has no such resource or no such price."""

    catalogue: str
    device: str
    resource: str
    price: str
    amount: float | None
    usd: float | None

    @property
    def usd_per_unit(self) -> float | None:
        return self.usd / self.amount if self.usd is not None and self.amount else None


def rows(catalogues: Sequence[str] = ("paper", "default")) -> list[Row]:
    return [row for name in catalogues for device in _devices(name) for row in _of_device(name, device)]


def ranked(found: Sequence[Row], catalogue: str, resource: str, price: str) -> list[Row]:
    """The priced devices of one panel, cheapest first."""
    panel = [row for row in found if (row.catalogue, row.resource, row.price) == (catalogue, resource, price)]
    return sorted((row for row in panel if row.usd_per_unit is not None), key=lambda row: row.usd_per_unit or 0.0)


def _devices(catalogue: str) -> list[Device]:
    known = catalog.devices(catalogue)
    return [known[name] for name in (*PAPER_DEVICES, *EXTENSION_DEVICES) if name in known]


def _of_device(catalogue: str, device: Device) -> Iterator[Row]:
    for resource, amount in zip(RESOURCES, _amounts(device), strict=True):
        for price in PRICES:
            yield Row(catalogue, device.id, resource, price, amount, _usd(device, price))


def _amounts(device: Device) -> tuple[float | None, ...]:
    fp16, fp8 = (device.flops_per_s.get(precision) for precision in (Precision.FP16, Precision.FP8))
    return (
        device.memory_bytes_per_s / GIGA,
        fp16 and fp16 / TERA,
        fp8 and fp8 / TERA,
        device.memory_bytes / GIGA,
    )


def _usd(device: Device, price: str) -> float | None:
    if price == "price":
        return device.price_usd
    try:
        return usd_per_hour(device, catalog.finance(price))
    except CatalogError:
        return None
