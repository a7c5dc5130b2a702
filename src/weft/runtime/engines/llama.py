# pyright: standard
"""The Llama family (Llama, Mistral, Mixtral, Qwen2, Qwen3) on torch: one forward pass over a batch of sequences.

Shapes are (tokens, …), of all sequences one after the other. Q, K, V and gate, up are joined into one matmul.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from weft.runtime.engines.attention import attend
from weft.runtime.engines.batch import Batch
from weft.runtime.engines.config import ModelConfig, Rope
from weft.runtime.engines.linear import Linear, Matrix, joined
from weft.runtime.engines.paged_kv import PagedKv
from weft.runtime.engines.shards import ALONE, Ranks, local_config, vocab_part


@dataclass(frozen=True, slots=True)
class Mlp:
    gate_up: Matrix
    down: Matrix

    def __call__(self, x: Tensor) -> Tensor:
        gate, up = self.gate_up(x).chunk(2, dim=-1)
        return self.down(functional.silu(gate) * up)


@dataclass(frozen=True, slots=True)
class Experts:
    """Each token goes to the `per_token` experts that the router likes best, weighted by its softmax among them."""

    router: Matrix
    experts: tuple[Mlp, ...]
    per_token: int

    def __call__(self, x: Tensor) -> Tensor:
        scores, chosen = self.router(x).float().softmax(dim=-1).topk(self.per_token, dim=-1)
        shares = scores / scores.sum(dim=-1, keepdim=True)
        mixed = torch.zeros_like(x)
        for index in chosen.unique().tolist():
            rows, ranks = torch.where(chosen == index)
            mixed[rows] += (self.experts[index](x[rows]) * shares[rows, ranks, None]).to(x.dtype)
        return mixed


@dataclass(frozen=True, slots=True)
class Layer:
    input_norm: Tensor
    qkv: Matrix
    head_norms: Tensor | None
    """(heads + kv_heads, head_dim), of Q and K."""
    output: Matrix
    mlp_norm: Tensor
    mlp: Mlp | Experts


class Llama:
    """Weights by their checkpoint names → hidden states and logits. Of several ranks each holds its share of the
    weights, and all run the same pass; `config` is the whole model's."""

    def __init__(self, config: ModelConfig, weights: Mapping[str, Tensor], ranks: Ranks = ALONE) -> None:
        self.config = config
        self._local = local_config(config, ranks.share)
        self._ranks = ranks
        self._embedding = weights["model.embed_tokens.weight"]
        self._layers = [_layer(self._local, weights, index) for index in range(config.layers)]
        self._norm = weights["model.norm.weight"]
        self._head = Linear(self._embedding) if config.tied_embeddings else joined(weights, ["lm_head"])
        self._frequencies = rope_frequencies(config.rope, config.head_dim).to(self._embedding.device)

    def forward(self, batch: Batch, kv: PagedKv, stored: Callable[[int], object] | None = None) -> Tensor:
        """Hidden states (wanted rows, d_model); K and V of all rows are stored in `kv`, of which `stored` hears."""
        rotation = self._rotation(batch.positions)
        x, add = self._embed(batch.tokens), self._ranks.sum
        for index, layer in enumerate(self._layers):
            attended = self._attend(layer, index, self._normed(x, layer.input_norm), rotation, batch, kv)
            if stored is not None:
                stored(index)
            if index + 1 == len(self._layers):  # nobody attends to what comes out of this one
                x, attended = x[batch.wanted], attended[batch.wanted]
                if not len(x):
                    return x
            x = x + add(layer.output(attended))
            x = x + add(layer.mlp(self._normed(x, layer.mlp_norm)))
        return self._normed(x, self._norm)

    def logits(self, hidden: Tensor) -> Tensor:
        """(…, d_model) → (…, vocab)."""
        logits = self._head(hidden)
        if self._ranks.share.size == 1:
            return logits
        rows = -(-self.config.vocab // self._ranks.share.size)
        parts = self._ranks.collect(functional.pad(logits, (0, rows - logits.shape[-1])))
        return torch.cat([*parts], dim=-1)[..., : self.config.vocab]

    def _embed(self, tokens: Tensor) -> Tensor:
        if self._ranks.share.size == 1:
            return functional.embedding(tokens, self._embedding)
        mine = vocab_part(self.config, self._ranks.share)
        foreign = (tokens < mine.start) | (tokens >= mine.stop)
        rows = functional.embedding((tokens - mine.start).masked_fill(foreign, 0), self._embedding)
        return self._ranks.sum(rows.masked_fill(foreign[:, None], 0))

    def _attend(
        self, layer: Layer, index: int, x: Tensor, rotation: tuple[Tensor, Tensor], batch: Batch, kv: PagedKv
    ) -> Tensor:
        config = self._local
        heads = layer.qkv(x).view(len(x), config.heads + 2 * config.kv_heads, config.head_dim)
        qk, v = heads.split((config.heads + config.kv_heads, config.kv_heads), dim=1)
        if layer.head_norms is not None:
            qk = self._normed(qk, layer.head_norms)
        q, k = _rotate(qk, rotation).split((config.heads, config.kv_heads), dim=1)
        return attend(index, q, k, v, batch, kv).reshape(len(x), -1)

    def _rotation(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        """cos, and -sin then sin, (tokens, 1, head_dim) of the positions; float32 until the last moment."""
        angles = torch.outer(positions.float(), self._frequencies)[:, None]
        sines, dtype = angles.sin(), self._embedding.dtype
        return angles.cos().repeat(1, 1, 2).to(dtype), torch.cat((-sines, sines), dim=-1).to(dtype)

    def _normed(self, x: Tensor, weight: Tensor) -> Tensor:
        normed = functional.rms_norm(x.float(), weight.shape[-1:], eps=self.config.norm_eps)
        return weight * normed.to(x.dtype)


def expected_tensors(config: ModelConfig) -> dict[str, tuple[int, ...]]:
    """Name → shape of every tensor that a checkpoint of this config must hold."""
    tensors: dict[str, tuple[int, ...]] = {
        "model.embed_tokens.weight": (config.vocab, config.d_model),
        "model.norm.weight": (config.d_model,),
    }
    if not config.tied_embeddings:
        tensors["lm_head.weight"] = (config.vocab, config.d_model)
    for index in range(config.layers):
        tensors |= {f"model.layers.{index}.{name}": shape for name, shape in _layer_tensors(config).items()}
    return tensors


def _layer_tensors(config: ModelConfig) -> dict[str, tuple[int, ...]]:
    q_width, kv_width = config.heads * config.head_dim, config.kv_heads * config.head_dim
    linears = {
        "self_attn.q_proj": (q_width, config.d_model, config.qkv_bias),
        "self_attn.k_proj": (kv_width, config.d_model, config.qkv_bias),
        "self_attn.v_proj": (kv_width, config.d_model, config.qkv_bias),
        "self_attn.o_proj": (config.d_model, q_width, config.output_bias),
        **_mlp_linears(config),
    }
    tensors: dict[str, tuple[int, ...]] = {
        f"{name}.weight": (rows, width) for name, (rows, width, _) in linears.items()
    }
    tensors |= {f"{name}.bias": (rows,) for name, (rows, _, biased) in linears.items() if biased}
    tensors |= {f"{name}.weight": (config.d_model,) for name in ("input_layernorm", "post_attention_layernorm")}
    if config.qk_norm:
        tensors |= {f"self_attn.{name}.weight": (config.head_dim,) for name in ("q_norm", "k_norm")}
    return tensors


def _mlp_linears(config: ModelConfig) -> dict[str, tuple[int, int, bool]]:
    """Name → rows, width, whether biased."""
    if not config.experts:
        return {
            "mlp.gate_proj": (config.ffn, config.d_model, config.mlp_bias),
            "mlp.up_proj": (config.ffn, config.d_model, config.mlp_bias),
            "mlp.down_proj": (config.d_model, config.ffn, config.mlp_bias),
        }
    linears = {"block_sparse_moe.gate": (config.experts, config.d_model, False)}
    for index in range(config.experts):
        prefix = f"block_sparse_moe.experts.{index}"
        linears |= {f"{prefix}.{name}": (config.ffn, config.d_model, False) for name in ("w1", "w3")}
        linears[f"{prefix}.w2"] = (config.d_model, config.ffn, False)
    return linears


def _layer(config: ModelConfig, weights: Mapping[str, Tensor], index: int) -> Layer:
    prefix = f"model.layers.{index}."

    def linear(*names: str) -> Matrix:
        return joined(weights, [f"{prefix}{name}" for name in names])

    norms = [weights[f"{prefix}self_attn.{name}.weight"] for name in ("q_norm", "k_norm") if config.qk_norm]
    counts = (config.heads, config.kv_heads)
    return Layer(
        input_norm=weights[f"{prefix}input_layernorm.weight"],
        qkv=linear("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
        head_norms=torch.cat([n.expand(count, -1) for n, count in zip(norms, counts, strict=True)]) if norms else None,
        output=linear("self_attn.o_proj"),
        mlp_norm=weights[f"{prefix}post_attention_layernorm.weight"],
        mlp=_mlp(config, linear),
    )


def _mlp(config: ModelConfig, linear: Callable[..., Matrix]) -> Mlp | Experts:
    if not config.experts:
        return Mlp(linear("mlp.gate_proj", "mlp.up_proj"), linear("mlp.down_proj"))
    experts = tuple(
        Mlp(linear(f"{prefix}.w1", f"{prefix}.w3"), linear(f"{prefix}.w2"))
        for prefix in (f"block_sparse_moe.experts.{index}" for index in range(config.experts))
    )
    return Experts(linear("block_sparse_moe.gate"), experts, config.experts_per_token)


def _rotate(x: Tensor, rotation: tuple[Tensor, Tensor]) -> Tensor:
    """(tokens, heads, head_dim) turned by its positions; the two halves of a head are the axes (Hugging Face)."""
    cos, sin = rotation
    first, second = x.chunk(2, dim=-1)
    return torch.addcmul(x * cos, torch.cat((second, first), dim=-1), sin)


def rope_frequencies(rope: Rope, head_dim: int) -> Tensor:
    """(head_dim / 2,) radians per position."""
    frequencies = 1.0 / rope.theta ** (torch.arange(0, head_dim, 2, dtype=torch.float32) / head_dim)
    if rope.type == "linear":
        return frequencies / rope.factor
    if rope.type == "llama3":
        return _llama3_frequencies(rope, frequencies)
    return frequencies


def _llama3_frequencies(rope: Rope, frequencies: Tensor) -> Tensor:
    """Long waves are stretched by `factor`, short ones kept, those between are blended."""
    waves = 2 * math.pi / frequencies
    blend = (rope.original_context / waves - rope.low_freq_factor) / (rope.high_freq_factor - rope.low_freq_factor)
    kept = blend.clamp(0.0, 1.0)
    return kept * frequencies + (1 - kept) * frequencies / rope.factor
