"""Dollars per device-hour: financing + power + hosting, or a rental price (design.md §4)."""

from weft.core.errors import CatalogError
from weft.core.hardware import Device, Finance
from weft.core.units import KILO
from weft.cost.energy import power_w

HOURS_PER_YEAR = 8760
MONTHS_PER_YEAR = 12


def usd_per_hour(device: Device, finance: Finance) -> float:
    if finance.cloud:
        return _known(device.cloud_usd_per_hour, device, finance, "cloud_usd_per_hour")
    price_usd = _known(device.price_usd, device, finance, "price_usd")
    return (
        financing_usd_per_hour(price_usd, finance) + power_usd_per_hour(device, finance) + finance.hosting_usd_per_hour
    )


def financing_usd_per_hour(price_usd: float, finance: Finance) -> float:
    """Equal monthly payments that repay the price, or interest on interest without repayment (the paper)."""
    months = finance.years * MONTHS_PER_YEAR
    rate = finance.annual_rate / MONTHS_PER_YEAR
    growth = (1 + rate) ** months
    if not finance.repay_principal:
        total_usd = price_usd * (growth - 1)
    elif rate == 0:
        total_usd = price_usd
    else:
        total_usd = price_usd * rate * months * growth / (growth - 1)
    return total_usd / (finance.years * HOURS_PER_YEAR)


def power_usd_per_hour(device: Device, finance: Finance) -> float:
    return power_w(device, finance.power_utilisation) / KILO * finance.pue * finance.usd_per_kwh


def _known(value: float | None, device: Device, finance: Finance, column: str) -> float:
    if value is None:
        raise CatalogError(
            subject=device.id,
            problem=f"has no {column}, which finance {finance.name!r} needs",
            way_out=f"add {column} to its row or to its group in the fleet file, or choose another finance",
        )
    return value
