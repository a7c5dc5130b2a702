"""Models of speech, retrieval and images of the catalogue."""

from collections.abc import Mapping
from functools import cache

import msgspec

from weft.catalog.hardware import HERE, source_of
from weft.catalog.names import Table, table
from weft.catalog.rows import ArchitectureFile, ArchitectureRow, BlockRow, StageRow
from weft.catalog.toml import read_toml
from weft.core.architecture import Architecture, Attention, Block, Convolution, Stage, Transformer
from weft.core.errors import CatalogError
from weft.core.units import MEGA


def architectures() -> Mapping[str, Architecture]:
    """Every architecture by id."""
    return _architectures().items


def architecture(name: str) -> Architecture:
    """One architecture by id, name or alias."""
    return _architectures()[name]


def is_architecture(name: str) -> bool:
    """Whether a name means a model that is no language model."""
    return _architectures().knows(name)


@cache
def _architectures() -> Table[Architecture]:
    rows = read_toml(HERE / "architectures.toml", CatalogError).convert(ArchitectureFile).architecture
    return table("architecture", rows, _architecture)


def _architecture(row: ArchitectureRow) -> Architecture:
    return Architecture(
        id=row.id,
        name=row.name,
        kind=row.kind,
        unit=row.unit,
        window_units=row.window_units,
        usual_units=row.usual_units,
        largest_units=row.largest_units,
        tokens_per_unit=row.tokens_per_unit,
        steps=row.steps,
        guidance=row.guidance,
        table_params=row.table_params_m * MEGA,
        published_params=row.published_params_m * MEGA,
        stages=tuple(map(_stage, row.stage)),
        source=source_of(row),
    )


def _stage(row: StageRow) -> Stage:
    blocks = tuple(map(_block, row.block))
    return Stage(row.name, row.passes, row.per_unit, row.fixed, blocks, row.shares_table)


def _block(row: BlockRow) -> Block:
    given: list[Block] = []
    if row.conv:
        given.append(Convolution(**msgspec.structs.asdict(row.conv)))
    if row.attention:
        given.append(Attention(**msgspec.structs.asdict(row.attention)))
    if row.transformer:
        given.append(Transformer(**msgspec.structs.asdict(row.transformer)))
    if len(given) != 1:
        raise CatalogError(
            subject="architectures.toml",
            problem=f"a block has {len(given)} of conv, attention and transformer",
            way_out="give each block one of them",
        )
    return given[0]
