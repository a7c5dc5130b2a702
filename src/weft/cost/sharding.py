"""How a model is divided over the devices of one replica: heads, projections, weights, KV cache.

Tensor parallelism splits heads, FFN width and vocabulary; pipeline parallelism splits layers. KV heads are copied
where there are fewer of them than devices, and a latent cache (multi-head latent attention) is copied always.
"""

from weft.core.deployment import Parallelism
from weft.core.errors import PlanError
from weft.core.model import ModelSpec
from weft.core.units import Precision


def check_parallelism(model: ModelSpec, parallelism: Parallelism) -> None:
    """Refuse a replica that the model cannot be cut into, naming the nearest that it can."""
    if model.heads % parallelism.tp:
        near = [tp for tp in range(1, model.heads + 1) if model.heads % tp == 0]
        below = max(tp for tp in near if tp < parallelism.tp)
        above = [tp for tp in near if tp > parallelism.tp][:1]
        raise PlanError(
            subject=model.id,
            problem=f"tp={parallelism.tp} does not divide its {model.heads} heads",
            way_out=f"choose tp {' or '.join(map(str, (below, *above)))}",
        )
    if parallelism.pp > model.layers:
        raise PlanError(
            subject=model.id,
            problem=f"pp={parallelism.pp} is more than its {model.layers} layers",
            way_out=f"choose pp {model.layers} at most",
        )


def is_latent(model: ModelSpec) -> bool:
    """Multi-head latent attention: one latent vector per token and layer instead of K and V per head."""
    return model.attention.lower().startswith("mla")


def kv_shards(model: ModelSpec, parallelism: Parallelism) -> int:
    """Into how many distinct parts tensor parallelism cuts the KV cache."""
    return 1 if is_latent(model) else min(parallelism.tp, model.kv_heads)


def kv_bytes_per_token(model: ModelSpec, precision: Precision, parallelism: Parallelism) -> float:
    """KV bytes of one token on one device, all layers of the model."""
    return model.kv_bytes_per_token(precision) / kv_shards(model, parallelism)


def qkv_columns(model: ModelSpec, parallelism: Parallelism) -> float:
    """Columns of the joint Q, K and V projection of one layer on one device."""
    if is_latent(model):
        return _latent_columns(model) / parallelism.tp
    kv_heads = model.kv_heads / kv_shards(model, parallelism)
    return (model.heads / parallelism.tp + 2 * kv_heads) * model.head_dim


def _latent_columns(model: ModelSpec) -> float:
    """Columns of one GEMM as large as the chain of low-rank projections, whose ranks the catalogue does not hold:
    what is left of the active parameters after embeddings, FFNs and the output projection."""
    embeddings = model.vocab * model.d_model * (1 if model.tied_embeddings else 2)
    output = model.heads * model.head_dim * model.d_model * model.layers
    left = model.params_active - embeddings - output - _active_ffn_params(model)
    return max(left, 0.0) / (model.layers * model.d_model)


def _active_ffn_params(model: ModelSpec) -> float:
    """Gate, up and down matrices that one token passes, and the routers."""
    experts = model.experts
    if experts is None:
        return 3.0 * model.d_model * model.ffn * model.layers
    sparse_layers = model.layers - experts.dense_layers
    active_width = (experts.active + experts.shared) * experts.ffn
    sparse = sparse_layers * (3 * active_width + experts.count)
    return float(model.d_model * (sparse + 3 * model.ffn * experts.dense_layers))
