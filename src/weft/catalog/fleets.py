"""Fleet files: which devices a team may use, in which zones, joined by which links. docs/fleets.md shows the format."""

import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, NoReturn

from msgspec import Meta, Struct

from weft.catalog.hardware import HERE, device, devices, link
from weft.catalog.locate import TomlPath
from weft.catalog.rows import Count, NonNegative, Positive, Text
from weft.catalog.terms import is_path
from weft.catalog.toml import TomlFile, named, read_toml, shown
from weft.core.errors import CatalogError, FleetError
from weft.core.hardware import Device, DeviceGroup, DeviceKind, Fleet, Link


class _Group(Struct, forbid_unknown_fields=True, frozen=True):
    device: Text
    count: Count
    zone: Text
    price_usd: NonNegative | None = None
    price_source: Text | None = None
    cloud_usd_per_hour: Positive | None = None


class _Zone(Struct, forbid_unknown_fields=True, frozen=True):
    name: Text
    link: Text


class _Between(Struct, forbid_unknown_fields=True, frozen=True):
    between: Annotated[list[Text], Meta(min_length=2, max_length=2)]
    link: Text


class _FleetDocument(Struct, forbid_unknown_fields=True, frozen=True):
    name: Text
    group: Annotated[list[_Group], Meta(min_length=1)]
    zone: Annotated[list[_Zone], Meta(min_length=1)]
    link: list[_Between] = []


def load_fleet(name_or_path: str | Path, profile: str = "default") -> Fleet:
    """A fleet that ships with Weft, by name, or a TOML file. Devices come from the catalogue's `profile`."""
    devices(profile)  # refuses an unknown profile before any line of the file is blamed
    file = read_toml(_locate(name_or_path), FleetError)
    document = file.convert(_FleetDocument)
    zones = _zone_links(file, document)
    return Fleet(document.name, _groups(file, document, profile), zones, _cross_links(file, document, zones))


def fleets() -> tuple[str, ...]:
    """Names of the fleets that ship with Weft."""
    return tuple(sorted(path.stem for path in (HERE / "fleets").glob("*.toml")))


def _locate(name_or_path: str | Path) -> Path:
    if is_path(name_or_path):
        return Path(name_or_path)
    if name_or_path in fleets():
        return HERE / "fleets" / f"{name_or_path}.toml"
    way_out = f"use {' or '.join(fleets())}, or the path of a .toml file"
    raise FleetError(subject=f"fleet {name_or_path!r}", problem="no such fleet ships with Weft", way_out=way_out)


def _zone_links(file: TomlFile, document: _FleetDocument) -> Mapping[str, Link]:
    _refuse_twice(file, "zone", [zone.name for zone in document.zone], "name")
    return {zone.name: _link(file, ("zone", at, "link"), zone.link) for at, zone in enumerate(document.zone)}


def _cross_links(file: TomlFile, document: _FleetDocument, zones: Mapping[str, Link]) -> Mapping[tuple[str, str], Link]:
    for at, row in enumerate(document.link):
        for end, name in enumerate(row.between):
            _known_zone(file, ("link", at, "between", end), name, zones)
        if row.between[0] == row.between[1]:
            problem = f"[[link]] number {at + 1} joins zone {row.between[0]!r} to itself"
            file.refuse(("link", at, "between"), problem, "a zone's own link stands in its [[zone]] as `link`")
    _refuse_twice(file, "link", [" and ".join(sorted(row.between)) for row in document.link], "between")
    return {
        (row.between[0], row.between[1]): _link(file, ("link", at, "link"), row.link)
        for at, row in enumerate(document.link)
    }


def _groups(file: TomlFile, document: _FleetDocument, profile: str) -> tuple[DeviceGroup, ...]:
    zones = [zone.name for zone in document.zone]
    for at, row in enumerate(document.group):
        _known_zone(file, ("group", at, "zone"), row.zone, zones)
    groups = tuple(_group(file, at, row, profile) for at, row in enumerate(document.group))
    _refuse_twice(file, "group", [f"{group.device.id} in zone {group.zone}" for group in groups], "device")
    return groups


def _group(file: TomlFile, at: int, row: _Group, profile: str) -> DeviceGroup:
    try:
        found = _device(row.device, profile)
    except CatalogError as unknown:
        _refuse_name(file, ("group", at, "device"), row.device, unknown)
    return DeviceGroup(_priced(found, row, file.path.name), row.count, row.zone)


def _device(name: str, profile: str) -> Device:
    """A profile that knows accelerators only (the paper's) leaves CPUs to the default one."""
    try:
        return device(name, profile)
    except CatalogError:
        host = device(name)
        if host.kind is not DeviceKind.CPU:
            raise
        return host


def _priced(base: Device, row: _Group, file_name: str) -> Device:
    """The device at the fleet's own prices, which its source then says."""
    own = {key: value for key in ("price_usd", "cloud_usd_per_hour") if (value := getattr(row, key)) is not None}
    if not own:
        return base
    origin = f"{' and '.join(own)} from {file_name}" + (f" ({row.price_source})" if row.price_source else "")
    note = f"{base.source.note} {origin}.".strip()
    return replace(base, source=replace(base.source, note=note), **own)


def _link(file: TomlFile, where: TomlPath, name: str) -> Link:
    try:
        return link(name)
    except CatalogError as unknown:
        _refuse_name(file, where, name, unknown)


def _refuse_name(file: TomlFile, where: TomlPath, name: str, unknown: CatalogError) -> NoReturn:
    file.refuse(where, f"{named(where)} is {shown(name)}, which is {unknown.problem}", unknown.way_out)


def _known_zone(file: TomlFile, where: TomlPath, name: str, zones: Iterable[str]) -> None:
    if name in zones:
        return
    nearest = difflib.get_close_matches(name, list(zones), 1, cutoff=0.0)[0]
    way_out = f"did you mean {nearest!r}? Each zone needs its [[zone]]"
    file.refuse(where, f"{named(where)} is {shown(name)}, which no [[zone]] names", way_out)


def _refuse_twice(file: TomlFile, table: str, labels: Sequence[str], key: str) -> None:
    for at, label in enumerate(labels):
        if label in labels[:at]:
            problem = f"[[{table}]] number {at + 1} repeats {label}, as number {labels.index(label) + 1}"
            file.refuse((table, at, key), problem, "keep one of the two (and add up their counts)")
