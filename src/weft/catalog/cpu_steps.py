"""Steps on a CPU of the catalogue: measured by benchmarks/cpu_steps.py."""

from collections.abc import Mapping
from functools import cache

from weft.catalog.hardware import HERE, source_of
from weft.catalog.names import Table, table
from weft.catalog.rows import CpuStepFile, CpuStepRow
from weft.catalog.toml import read_toml
from weft.core.cpu_step import CpuStep
from weft.core.errors import CatalogError


def cpu_steps() -> Mapping[str, CpuStep]:
    """Every step by id."""
    return _steps().items


def cpu_step(name: str) -> CpuStep:
    return _steps()[name]


@cache
def _steps() -> Table[CpuStep]:
    return table("CPU step", read_toml(HERE / "cpu_steps.toml", CatalogError).convert(CpuStepFile).cpu_step, _step)


def _step(row: CpuStepRow) -> CpuStep:
    sizes = (row.core_s, row.memory_bytes, row.held_bytes, row.network_bytes, row.disk_bytes)
    return CpuStep(row.id, row.name, row.per, *sizes, source_of(row))
