"""Dollars per device-hour: financing + power + hosting, or a rental price (design.md §4)."""

import math

from weft.core.errors import CatalogError
from weft.core.hardware import Device, Finance, Host
from weft.core.units import KILO
from weft.cost.energy import power_w

HOURS_PER_YEAR = 8760
MONTHS_PER_YEAR = 12


def usd_per_hour(device: Device, finance: Finance) -> float:
    if finance.cloud:
        return _known(device.cloud_usd_per_hour, device, finance, "cloud_usd_per_hour")
    price_usd = _known(device.price_usd, device, finance, "price_usd")
    _check(finance)
    if finance.with_host:
        price_usd += _host(device, finance).usd
    capital = financing_usd_per_hour if finance.paid_years_ago is None else depreciation_usd_per_hour
    return capital(price_usd, finance) + power_usd_per_hour(device, finance) + finance.hosting_usd_per_hour


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


def depreciation_usd_per_hour(price_usd: float, finance: Finance) -> float:
    """What the coming year takes from the resale value of hardware already paid for, per hour."""
    kept = 1.0 - finance.annual_depreciation
    return price_usd * kept ** (finance.paid_years_ago or 0.0) * finance.annual_depreciation / HOURS_PER_YEAR


def power_usd_per_hour(device: Device, finance: Finance) -> float:
    draw_w = power_w(device, finance.power_utilisation, finance.idle_power_share)
    if finance.with_host:
        draw_w += _host(device, finance).w
    return draw_w / KILO * finance.pue * finance.usd_per_kwh


def _host(device: Device, finance: Finance) -> Host:
    if device.host is None:
        raise CatalogError(
            subject=device.id,
            problem=f"has no host in the catalogue, which finance {finance.name!r} pays for",
            way_out="add it to a row of hosts.toml, or choose finance owned",
        )
    return device.host


def _check(finance: Finance) -> None:
    """A finance read from the catalogue is checked there; one made by hand here."""
    amounts = (finance.annual_rate, finance.usd_per_kwh, finance.power_utilisation, finance.pue)
    amounts += (finance.hosting_usd_per_hour, finance.idle_power_share, finance.annual_depreciation)
    if not finance.years > 0 or not all(0 <= amount < math.inf for amount in amounts):
        raise CatalogError(
            subject=f"finance {finance.name!r}",
            problem="has a term of no years, or a number that is negative, infinite or not a number",
            way_out="give it years above 0 and finite numbers that are not negative",
        )


def _known(value: float | None, device: Device, finance: Finance, column: str) -> float:
    if value is None:
        raise CatalogError(
            subject=device.id,
            problem=f"has no {column}, which finance {finance.name!r} needs",
            way_out=f"add {column} to its row or to its group in the fleet file, or choose another finance",
        )
    if not 0 <= value < math.inf:
        raise CatalogError(
            subject=device.id,
            problem=f"its {column} is {value:g}, and a price is finite and not negative",
            way_out=f"correct {column} in its row or in its group of the fleet file",
        )
    return value
