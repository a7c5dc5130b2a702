"""The shape of every TOML file of the catalogue, limits included. Datasheet units; building makes them SI."""

from typing import Annotated

from msgspec import Meta, Struct

from weft.core.hardware import DeviceKind

_HUGE = 1e12  # beyond any quantity here; refuses infinity

Text = Annotated[str, Meta(min_length=1)]
Positive = Annotated[float, Meta(gt=0, le=_HUGE)]
NonNegative = Annotated[float, Meta(ge=0, le=_HUGE)]
Share = Annotated[float, Meta(ge=0, le=1)]
Count = Annotated[int, Meta(ge=1, le=1_000_000_000)]
Whole = Annotated[int, Meta(ge=0, le=1_000_000)]
Range = Annotated[list[Positive], Meta(min_length=2, max_length=2)]


class Row(Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """What every catalogue row has: an id, a source and the date it was read."""

    id: Text
    source: Text
    as_of: Annotated[str, Meta(pattern=r"^\d{4}(-\d\d){0,2}$")]
    note: str = ""
    aliases: list[Text] = []


class ScaleUpRow(Struct, forbid_unknown_fields=True, frozen=True):
    name: Text
    gb_per_s: Positive
    max_devices: Count


class TflopsRow(Struct, forbid_unknown_fields=True, frozen=True, omit_defaults=True):
    fp32: Positive | None = None
    fp16: Positive | None = None
    fp8: Positive | None = None
    int8: Positive | None = None
    fp4: Positive | None = None


class DeviceRow(Row, frozen=True, kw_only=True):
    name: Text
    vendor: Text
    kind: DeviceKind
    memory_gb: Positive
    memory_gb_per_s: Positive
    tflops: TflopsRow
    scale_up: ScaleUpRow | None = None
    tdp_w: Positive | None = None
    cores: Count | None = None
    price_usd: NonNegative | None = None
    price_as_of: Text | None = None
    cloud_range_usd_per_hour: Range | None = None
    cloud_as_of: Text | None = None


class ProfileRow(Row, frozen=True, kw_only=True):
    """A device of another profile: only what differs from the row of the same id in devices.toml."""

    memory_gb: Positive
    memory_gb_per_s: Positive
    tflops: Positive
    price_usd: NonNegative
    price_as_of: Text


class ExpertsRow(Struct, forbid_unknown_fields=True, frozen=True):
    count: Count
    active: Count
    shared: Whole
    ffn: Count
    dense_layers: Whole


class ModelRow(Row, frozen=True, kw_only=True):
    name: Text
    layers: Count
    d_model: Count
    heads: Count
    kv_heads: Count
    head_dim: Count
    ffn: Count
    vocab: Count
    context: Count
    params_total_b: Positive
    params_active_b: Positive
    kv_bytes_per_token_fp16: Positive
    attention: Text
    tied_embeddings: bool
    experts: ExpertsRow | None = None


class LinkRow(Row, frozen=True, kw_only=True):
    name: Text
    gbit_per_s: Positive
    latency_us: NonNegative
    usd_per_gb: NonNegative


class SloRow(Row, frozen=True, kw_only=True):
    ttft_s: Positive | None = None
    tpot_s: Positive | None = None
    e2e_s: Positive | None = None
    e2e_p95_s: Positive | None = None
    penalty_usd_per_s: Positive | None = None


class FinanceRow(Row, frozen=True, kw_only=True):
    years: Positive
    annual_rate: Share
    repay_principal: bool
    usd_per_kwh: NonNegative
    power_utilisation: Share
    pue: Annotated[float, Meta(ge=1, le=10)]
    hosting_usd_per_hour: NonNegative
    cloud: bool = False
    idle_power_share: Share = 0.0
    paid_years_ago: NonNegative | None = None
    annual_depreciation: Share = 0.0


class DeviceFile(Struct, forbid_unknown_fields=True, frozen=True):
    device: list[DeviceRow]


class ProfileFile(Struct, forbid_unknown_fields=True, frozen=True):
    device: list[ProfileRow]


class ModelFile(Struct, forbid_unknown_fields=True, frozen=True):
    model: list[ModelRow]


class LinkFile(Struct, forbid_unknown_fields=True, frozen=True):
    link: list[LinkRow]


class SloFile(Struct, forbid_unknown_fields=True, frozen=True):
    slo: list[SloRow]


class FinanceFile(Struct, forbid_unknown_fields=True, frozen=True):
    finance: list[FinanceRow]
