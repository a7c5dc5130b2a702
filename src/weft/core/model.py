"""The architecture of a language model, as far as its cost depends on it."""

from dataclasses import dataclass

from weft.core.hardware import Source
from weft.core.units import Precision


@dataclass(frozen=True, slots=True)
class Experts:
    """Mixture-of-experts sizes: routed experts per layer, experts active per token, and their FFN width."""

    count: int
    active: int
    shared: int
    ffn: int
    dense_layers: int


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """A decoder-only transformer. Parameter counts are numbers, not billions; context is in tokens."""

    id: str
    name: str
    layers: int
    d_model: int
    heads: int
    kv_heads: int
    head_dim: int
    ffn: int
    vocab: int
    context: int
    params_total: float
    params_active: float
    kv_bytes_per_token_fp16: float
    attention: str
    tied_embeddings: bool
    experts: Experts | None
    source: Source

    def kv_bytes_per_token(self, precision: Precision) -> float:
        """Bytes that one token adds to the KV cache of the whole model (all layers, K and V)."""
        return self.kv_bytes_per_token_fp16 * precision.bytes_per_element / Precision.FP16.bytes_per_element

    def weight_bytes(self, precision: Precision) -> float:
        return self.params_total * precision.bytes_per_element
