"""What-if changes of a fleet: `h100.count=16`, `gaudi3.price=10000`, `mi355x:8`. Words in, a changed fleet out."""

from collections.abc import Iterable
from dataclasses import replace
from typing import NoReturn

from weft.catalog.fleets import load_fleet
from weft.catalog.hardware import device
from weft.core.errors import FleetError
from weft.core.hardware import Device, DeviceGroup, Fleet

FIELDS = {"price": "price_usd", "cloud": "cloud_usd_per_hour"}
"""What `--set DEVICE.FIELD=VALUE` may change besides `count`."""


def changed_fleet(name: str, settings: Iterable[str], additions: Iterable[str], profile: str = "default") -> Fleet:
    """A fleet of the catalogue, or a TOML file, with changes: `settings` are DEVICE.FIELD=VALUE (DEVICE may be
    DEVICE@ZONE), `additions` DEVICE:COUNT or DEVICE@ZONE:COUNT."""
    fleet = load_fleet(name, profile)
    for addition in additions:
        fleet = _added(fleet, addition, profile)
    for setting in settings:
        fleet = _set(fleet, setting, profile)
    return fleet


def _set(fleet: Fleet, setting: str, profile: str) -> Fleet:
    target, _, value = setting.partition("=")
    name, _, field = target.rpartition(".")
    if not name or field not in ("count", *FIELDS):
        _refuse(setting, "is no change of a fleet", f"write DEVICE.count=8, or .{', .'.join(FIELDS)} in dollars")
    wanted, zone = _device_and_zone(name, profile)
    if not any(_is(group, wanted, zone) for group in fleet.groups):
        have = ", ".join(dict.fromkeys(group.device.id for group in fleet.groups))
        _refuse(setting, f"fleet {fleet.name!r} has no {name} (it has {have})", f"add it with --add {name}:COUNT")
    groups = [_with(group, field, value, setting) if _is(group, wanted, zone) else group for group in fleet.groups]
    return replace(fleet, groups=tuple(group for group in groups if group.count > 0))


def _added(fleet: Fleet, addition: str, profile: str) -> Fleet:
    name, _, number = addition.rpartition(":")
    wanted, zone = _device_and_zone(name or addition, profile)
    count = _whole(number if name else "", addition)
    zone = zone or fleet.groups[0].zone
    if zone not in fleet.zone_link:
        _refuse(addition, f"fleet {fleet.name!r} has no zone {zone!r}", f"choose among {', '.join(fleet.zone_link)}")
    if any(_is(group, wanted, zone) for group in fleet.groups):
        groups = [replace(g, count=g.count + count) if _is(g, wanted, zone) else g for g in fleet.groups]
        return replace(fleet, groups=tuple(groups))
    return replace(fleet, groups=(*fleet.groups, DeviceGroup(wanted, count, zone)))


def _with(group: DeviceGroup, field: str, value: str, setting: str) -> DeviceGroup:
    if field == "count":
        return replace(group, count=_whole(value, setting))
    own = {FIELDS[field]: _dollars(value, setting)}
    note = f"{group.device.source.note} {FIELDS[field]} from --set.".strip()
    return replace(group, device=replace(group.device, source=replace(group.device.source, note=note), **own))


def _device_and_zone(name: str, profile: str) -> tuple[Device, str | None]:
    kind, _, zone = name.partition("@")
    return device(kind, profile), zone or None


def _is(group: DeviceGroup, wanted: Device, zone: str | None) -> bool:
    return group.device.id == wanted.id and zone in (None, group.zone)


def _whole(text: str, change: str) -> int:
    if not text.isdecimal():
        _refuse(change, f"{text!r} is no number of devices", "write a whole number, 0 or more")
    return int(text)


def _dollars(text: str, change: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value < float("inf"):
        _refuse(change, f"{text!r} is no price", "write dollars, 0 or more")
    return value


def _refuse(change: str, problem: str, way_out: str) -> NoReturn:
    raise FleetError(subject=f"change {change!r}", problem=problem, way_out=way_out)
