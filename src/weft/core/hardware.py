"""Devices, links, fleets and the finance they are paid with. SI units; dense FLOPS only."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from weft.core.errors import FleetError
from weft.core.units import Precision


class DeviceKind(StrEnum):
    GPU = "gpu"
    ASIC = "asic"
    CPU = "cpu"
    SOC = "soc"


@dataclass(frozen=True, slots=True)
class Source:
    """Where a catalogue row comes from and when it was read (ISO date or year-month)."""

    url: str
    as_of: str
    note: str = ""


@dataclass(frozen=True, slots=True)
class Interconnect:
    """The scale-up network of one device: rate per direction, and how many devices it joins."""

    name: str
    bytes_per_s: float
    max_devices: int


@dataclass(frozen=True, slots=True)
class Host:
    """What a server adds to each of its devices: `server_usd` is all but the accelerators, NICs and switches; `w` what
    that draws at work."""

    id: str
    name: str
    server_usd: float
    nic_usd: float
    network_usd: float
    w: float
    source: Source

    @property
    def usd(self) -> float:
        return self.server_usd + self.nic_usd + self.network_usd


@dataclass(frozen=True, slots=True)
class Device:
    """One accelerator or one CPU socket. `flops_per_s` is dense and holds only what the hardware runs natively."""

    id: str
    name: str
    vendor: str
    kind: DeviceKind
    flops_per_s: Mapping[Precision, float]
    memory_bytes: float
    memory_bytes_per_s: float
    tdp_w: float | None
    scale_up: Interconnect | None
    cores: int | None
    price_usd: float | None
    cloud_usd_per_hour: float | None
    source: Source
    host: Host | None = None


@dataclass(frozen=True, slots=True)
class Link:
    """A network path between two devices or zones: rate per direction, one-way latency, price of moving bytes."""

    id: str
    name: str
    bytes_per_s: float
    latency_s: float
    usd_per_byte: float
    source: Source


@dataclass(frozen=True, slots=True)
class DeviceGroup:
    """`count` equal devices in one zone of a fleet."""

    device: Device
    count: int
    zone: str


@dataclass(frozen=True, slots=True)
class Fleet:
    """What may be used: device groups, the link inside each zone, and links between zones."""

    name: str
    groups: tuple[DeviceGroup, ...]
    zone_link: Mapping[str, Link]
    cross_links: Mapping[tuple[str, str], Link]

    def link_between(self, zone_a: str, zone_b: str) -> Link:
        """The link that joins two zones (or devices inside one); order does not matter."""
        if zone_a == zone_b:
            return self.zone_link[zone_a]
        link = self.cross_links.get((zone_a, zone_b)) or self.cross_links.get((zone_b, zone_a))
        if link is None:
            raise FleetError(
                subject=f"fleet {self.name!r}",
                problem=f"no link joins zones {zone_a!r} and {zone_b!r}",
                way_out="add a [[link]] between them to the fleet file",
            )
        return link


@dataclass(frozen=True, slots=True)
class Finance:
    """How a device-hour is priced (design.md §4).

    `repay_principal=False` is the paper's Table 5: interest on the price over the term, without repayment.
    `cloud=True` takes the device's rental price and ignores everything else. Power: a device draws `idle_power_share`
    of its TDP when idle and all of it when busy; `power_utilisation` is how busy it is. `paid_years_ago` is for
    hardware already paid for: an hour then costs what it takes from the resale value, which falls by
    `annual_depreciation` a year (0: the price is sunk and costs nothing more). `with_host`: a device pays for its share
    of server, NIC and switch, whose power it draws all the time.
    """

    name: str
    years: float
    annual_rate: float
    repay_principal: bool
    usd_per_kwh: float
    power_utilisation: float
    pue: float
    hosting_usd_per_hour: float
    cloud: bool = False
    idle_power_share: float = 0.0
    paid_years_ago: float | None = None
    annual_depreciation: float = 0.0
    with_host: bool = False
