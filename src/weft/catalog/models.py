"""Language models of the catalogue."""

from collections.abc import Mapping
from functools import cache

from weft.catalog.hardware import HERE, source_of
from weft.catalog.names import Table, table
from weft.catalog.rows import ModelFile, ModelRow
from weft.catalog.toml import read_toml
from weft.core.errors import CatalogError
from weft.core.model import Experts, ModelSpec
from weft.core.units import GIGA


def models() -> Mapping[str, ModelSpec]:
    """Every model by id."""
    return _models().items


def model(name: str) -> ModelSpec:
    """One model by id, name or alias; a repository's owner ("meta-llama/") is ignored."""
    return _models()[name]


@cache
def _models() -> Table[ModelSpec]:
    return table("model", read_toml(HERE / "models.toml", CatalogError).convert(ModelFile).model, build_model)


def build_model(row: ModelRow) -> ModelSpec:
    """A row as the cost model needs it; a model with inactive parameters must tell its experts."""
    experts = row.experts
    if experts is None and row.params_active_b < row.params_total_b:
        raise CatalogError(
            subject=f"model {row.id!r}",
            problem=f"has {row.params_active_b:g} B of {row.params_total_b:g} B parameters active but no experts",
            way_out="add experts = { count, active, shared, ffn, dense_layers }, or make the two numbers equal",
        )
    return ModelSpec(
        id=row.id,
        name=row.name,
        layers=row.layers,
        d_model=row.d_model,
        heads=row.heads,
        kv_heads=row.kv_heads,
        head_dim=row.head_dim,
        ffn=row.ffn,
        vocab=row.vocab,
        context=row.context,
        params_total=row.params_total_b * GIGA,
        params_active=row.params_active_b * GIGA,
        kv_bytes_per_token_fp16=row.kv_bytes_per_token_fp16,
        attention=row.attention,
        tied_embeddings=row.tied_embeddings,
        experts=experts and Experts(experts.count, experts.active, experts.shared, experts.ffn, experts.dense_layers),
        source=source_of(row),
    )
