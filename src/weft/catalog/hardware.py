"""Devices and links of the catalogue. A profile (`paper`) overrides the figures of the few devices it knows."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from types import MappingProxyType

from weft.catalog.names import Table, index, resolve, table
from weft.catalog.rows import (
    DeviceFile,
    DeviceRow,
    HostFile,
    HostRow,
    LinkFile,
    LinkRow,
    ProfileFile,
    ProfileRow,
    Row,
    ScaleUpRow,
)
from weft.catalog.toml import read_toml
from weft.core.errors import CatalogError
from weft.core.hardware import Device, Host, Interconnect, Link, Source
from weft.core.units import GIGA, MEGA, TERA, Precision

HERE = Path(__file__).parent
PROFILES = ("default", "paper")


def devices(profile: str = "default") -> Mapping[str, Device]:
    """Every device of a profile by id."""
    return _device_table(_known_profile(profile))[0]


def device(name: str, profile: str = "default") -> Device:
    """One device by id, name or alias."""
    table, ids = _device_table(_known_profile(profile))
    return table[resolve("device", name, ids, f"the catalogue's profile {profile!r}")]


def links() -> Mapping[str, Link]:
    return _links().items


def link(name: str) -> Link:
    return _links()[name]


def source_of(row: Row, *dated: str) -> Source:
    """A row's source; prices that have dates of their own are added to the note."""
    return Source(row.source, row.as_of, " ".join(part for part in (row.note, *dated) if part))


@cache
def _device_table(profile: str) -> tuple[Mapping[str, Device], Mapping[str, str]]:
    rows = {row.id: row for row in read_toml(HERE / "devices.toml", CatalogError).convert(DeviceFile).device}
    hosts = _hosts_by_device(rows)
    built = {row_id: _device(row, hosts.get(row_id)) for row_id, row in rows.items()}
    if profile != "default":
        overrides = read_toml(HERE / f"devices.{profile}.toml", CatalogError).convert(ProfileFile).device
        built = {row.id: _override(built[row.id], row) for row in overrides}
    ids = index("device", ((key, (rows[key].name, *rows[key].aliases)) for key in built))
    return MappingProxyType(built), ids


@cache
def _links() -> Table[Link]:
    return table("link", read_toml(HERE / "links.toml", CatalogError).convert(LinkFile).link, _link)


def _known_profile(profile: str) -> str:
    if profile not in PROFILES:
        way_out = f"the profiles are {' and '.join(PROFILES)}"
        raise CatalogError(subject=f"profile {profile!r}", problem="not in the catalogue", way_out=way_out)
    return profile


def _hosts_by_device(known: Mapping[str, DeviceRow]) -> Mapping[str, Host]:
    """A device stands in at most one kind of server."""
    found: dict[str, Host] = {}
    for row in read_toml(HERE / "hosts.toml", CatalogError).convert(HostFile).host:
        for name in row.devices:
            if name not in known or name in found:
                problem = "stands in two hosts" if name in found else "is a device that the catalogue does not have"
                raise CatalogError(subject=f"host {row.id!r}", problem=f"{name!r} {problem}", way_out="correct its row")
            found[name] = _host(row)
    return found


def _host(row: HostRow) -> Host:
    """One place of the server."""
    return Host(
        row.id,
        row.name,
        row.server_usd / row.places,
        row.nics_usd / row.places,
        row.network_usd / row.places,
        row.server_w / row.places,
        source_of(row),
    )


def _device(row: DeviceRow, host: Host | None) -> Device:
    rates = {precision: getattr(row.tflops, precision) for precision in Precision}
    return Device(
        id=row.id,
        name=row.name,
        vendor=row.vendor,
        kind=row.kind,
        flops_per_s={precision: rate * TERA for precision, rate in rates.items() if rate is not None},
        memory_bytes=row.memory_gb * GIGA,
        memory_bytes_per_s=row.memory_gb_per_s * GIGA,
        tdp_w=row.tdp_w,
        scale_up=row.scale_up and _interconnect(row.scale_up),
        cores=row.cores,
        price_usd=row.price_usd,
        cloud_usd_per_hour=_middle(row.cloud_range_usd_per_hour),
        source=source_of(row, _price_date(row.price_as_of), _cloud_date(row)),
        host=host,
    )


def _interconnect(row: ScaleUpRow) -> Interconnect:
    return Interconnect(row.name, row.gb_per_s * GIGA, row.max_devices)


def _middle(bounds: Sequence[float] | None) -> float | None:
    return None if bounds is None else sum(bounds) / len(bounds)


def _override(base: Device, row: ProfileRow) -> Device:
    """The profile's figures on the default row; its one FLOPS number stands for every precision the device has."""
    return replace(
        base,
        flops_per_s=dict.fromkeys(base.flops_per_s, row.tflops * TERA),
        memory_bytes=row.memory_gb * GIGA,
        memory_bytes_per_s=row.memory_gb_per_s * GIGA,
        price_usd=row.price_usd,
        cloud_usd_per_hour=None,
        source=source_of(row, _price_date(row.price_as_of)),
    )


def _price_date(as_of: str | None) -> str:
    return f"Price as of {as_of}." if as_of else ""


def _cloud_date(row: DeviceRow) -> str:
    if row.cloud_range_usd_per_hour is None:
        return ""
    low, high = row.cloud_range_usd_per_hour
    return f"Cloud {low:g} to {high:g} USD/h as of {row.cloud_as_of}; the middle is used."


def _link(row: LinkRow) -> Link:
    rate = row.gbit_per_s * GIGA / 8
    return Link(row.id, row.name, rate, row.latency_us / MEGA, row.usd_per_gb / GIGA, source_of(row))
