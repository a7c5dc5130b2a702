"""What is asked and how it is paid: service-level objectives, finances, and the workloads that users write."""

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, cast

import msgspec
from msgspec import Struct

from weft.catalog.hardware import HERE
from weft.catalog.names import index, resolve
from weft.catalog.rows import FinanceFile, FinanceRow, NonNegative, Positive, SloFile, SloRow, Text
from weft.catalog.toml import TomlFile, named, read_toml, shown
from weft.core.errors import CatalogError
from weft.core.hardware import Finance
from weft.core.workload import Slo, Workload

_SIZES = frozenset({"isl", "osl"})  # a prompt or an answer of no tokens is no step


class _SloDocument(Struct, forbid_unknown_fields=True, frozen=True):
    name: Text
    ttft_s: Positive | None = None
    tpot_s: Positive | None = None
    e2e_s: Positive | None = None
    e2e_p95_s: Positive | None = None
    penalty_usd_per_s: Positive | None = None


class _WorkloadDocument(Struct, forbid_unknown_fields=True, frozen=True):
    name: Text
    rate_per_s: Positive
    steps: dict[str, Any] = {}


def slos() -> Mapping[str, Slo]:
    return {row.id: _slo(row.id, row) for row in _slo_file().slo}


def slo(name_or_path: str | Path) -> Slo:
    """An objective of the catalogue by name, or a TOML file with name and any of the fields of Slo."""
    if is_path(name_or_path):
        file = read_toml(Path(name_or_path), CatalogError)
        document = file.convert(_SloDocument)
        if document.penalty_usd_per_s is not None and document.e2e_s is document.e2e_p95_s is None:
            problem = "prices each second of lateness, but no end-to-end time is asked"
            file.refuse(("penalty_usd_per_s",), f"`penalty_usd_per_s` {problem}", "give e2e_s or e2e_p95_s too")
        return _slo(document.name, document)
    ids = index("objective", ((row.id, row.aliases) for row in _slo_file().slo))
    return slos()[resolve("objective", str(name_or_path), ids)]


def _slo(name: str, row: SloRow | _SloDocument) -> Slo:
    return Slo(name, row.ttft_s, row.tpot_s, row.e2e_s, row.penalty_usd_per_s, row.e2e_p95_s)


def finances() -> Mapping[str, Finance]:
    return _finance_table()[0]


def finance(name: str) -> Finance:
    """`paper`, `owned`, `owned-host`, `paid` or `cloud`."""
    table, ids = _finance_table()
    return table[resolve("finance", name, ids)]


def load_workload(path: str | Path) -> Workload:
    """A TOML file: name, rate_per_s, and a table [steps.NAME] for each step whose sizes differ from the program's."""
    file = read_toml(Path(path), CatalogError)
    document = file.convert(_WorkloadDocument)
    steps = {step: _attributes(file, step, values) for step, values in document.steps.items()}
    return Workload(document.name, document.rate_per_s, steps)


def is_path(name_or_path: str | Path) -> bool:
    return isinstance(name_or_path, Path) or name_or_path.endswith(".toml") or "/" in name_or_path


def _attributes(file: TomlFile, step: str, values: object) -> dict[str, float]:
    if not isinstance(values, dict):
        problem = f"{named(('steps', step))} is {shown(values)}, expected a table"
        file.refuse(("steps", step), problem, f"write [steps.{step}] and its sizes (isl, osl, …) below it")
    values = cast(dict[str, object], values)
    return {key: _attribute(file, ("steps", step, key), value) for key, value in values.items()}


def _attribute(file: TomlFile, where: tuple[str, str, str], value: object) -> float:
    limit = Positive if where[-1] in _SIZES else NonNegative
    try:
        return msgspec.convert(value, limit)
    except msgspec.ValidationError:
        bound = "> 0" if where[-1] in _SIZES else ">= 0"
        problem = f"{named(where)} is {shown(value)}, expected a number {bound}"
        file.refuse(where, problem, "write a value within that limit")


@cache
def _slo_file() -> SloFile:
    return read_toml(HERE / "slos.toml", CatalogError).convert(SloFile)


@cache
def _finance_table() -> tuple[Mapping[str, Finance], Mapping[str, str]]:
    rows = read_toml(HERE / "finances.toml", CatalogError).convert(FinanceFile).finance
    table = {row.id: _finance(row) for row in rows}
    return table, index("finance", ((row.id, row.aliases) for row in rows))


def _finance(row: FinanceRow) -> Finance:
    return Finance(
        name=row.id,
        years=row.years,
        annual_rate=row.annual_rate,
        repay_principal=row.repay_principal,
        usd_per_kwh=row.usd_per_kwh,
        power_utilisation=row.power_utilisation,
        pue=row.pue,
        hosting_usd_per_hour=row.hosting_usd_per_hour,
        cloud=row.cloud,
        idle_power_share=row.idle_power_share,
        paid_years_ago=row.paid_years_ago,
        annual_depreciation=row.annual_depreciation,
        with_host=row.with_host,
    )
