# pyright: standard
"""BERT written for export, and how a checkpoint says that its hidden states become one vector.

`encode` gives hidden states (B, S, width), `embed` one vector of length 1 per text. Both take tokens (B, S) and counts
(B,), how many of them are real.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from weft.compiler.codegen.models import UNSEEN, pool
from weft.core.errors import CheckpointError

BERT = "BertModel"
POOLING = Path("1_Pooling/config.json")  # where sentence-transformers says it
POOLINGS = {"pooling_mode_mean_tokens": "mean", "pooling_mode_cls_token": "cls", "pooling_mode_lasttoken": "last"}


@dataclass(frozen=True, slots=True)
class BertConfig:
    vocab: int
    width: int
    ffn: int
    layers: int
    heads: int
    context: int
    types: int
    norm_eps: float


def parse_bert(raw: Mapping[str, Any], subject: str) -> BertConfig:
    if raw.get("hidden_act", "gelu") != "gelu" or raw.get("position_embedding_type", "absolute") != "absolute":
        raise CheckpointError(
            subject=subject,
            problem=f"has activation {raw.get('hidden_act')!r} or positions {raw.get('position_embedding_type')!r}",
            way_out="use a BERT checkpoint with gelu and absolute positions",
        )
    try:
        return BertConfig(
            vocab=raw["vocab_size"],
            width=raw["hidden_size"],
            ffn=raw["intermediate_size"],
            layers=raw["num_hidden_layers"],
            heads=raw["num_attention_heads"],
            context=raw["max_position_embeddings"],
            types=raw["type_vocab_size"],
            norm_eps=raw["layer_norm_eps"],
        )
    except KeyError as error:
        raise CheckpointError(
            subject=subject, problem=f"has no {error}", way_out="use the config.json the model was saved with"
        ) from error


def read_pooling(checkpoint: Path) -> str:
    """mean, cls or last; mean where the checkpoint does not say."""
    path = checkpoint / POOLING
    if not path.is_file():
        return "mean"
    told: dict[str, Any] = json.loads(path.read_text("utf-8"))
    chosen = [key for key, on in told.items() if key.startswith("pooling_mode_") and on is True]
    if len(chosen) != 1 or chosen[0] not in POOLINGS:
        raise CheckpointError(
            subject=str(path),
            problem=f"pools by {', '.join(chosen) or 'nothing'}",
            way_out=f"use a model with one of: {', '.join(POOLINGS)}",
        )
    return POOLINGS[chosen[0]]


class Bert(nn.Module):
    def __init__(self, config: BertConfig, pooling: str) -> None:
        super().__init__()
        self.pooling = pooling
        self.embeddings = _Embeddings(config)
        self.encoder: Any = nn.Module()
        self.encoder.layer = nn.ModuleList(_Layer(config) for _ in range(config.layers))

    def encode(self, tokens: Tensor, counts: Tensor) -> Tensor:
        return self._hidden(tokens, counts).float()

    def embed(self, tokens: Tensor, counts: Tensor) -> Tensor:
        return pool(self._hidden(tokens, counts), counts, self.pooling)

    def _hidden(self, tokens: Tensor, counts: Tensor) -> Tensor:
        seen = torch.arange(tokens.shape[1])[None] < counts[:, None]
        mask = torch.where(seen, 0.0, UNSEEN)[:, None, None]
        x = self.embeddings(tokens)
        for layer in self.encoder.layer:
            x = layer(x, mask)
        return x


class _Embeddings(nn.Module):
    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        self.word_embeddings = nn.Embedding(config.vocab, config.width)
        self.position_embeddings = nn.Embedding(config.context, config.width)
        self.token_type_embeddings = nn.Embedding(config.types, config.width)
        self.LayerNorm = nn.LayerNorm(config.width, config.norm_eps)

    def forward(self, tokens: Tensor) -> Tensor:
        positions = self.position_embeddings(torch.arange(tokens.shape[1]))
        types = self.token_type_embeddings(torch.zeros_like(tokens))
        return self.LayerNorm(self.word_embeddings(tokens) + types + positions)


class _Dense(nn.Module):
    """A dense layer, then the norm of its sum with what came before: BERT's `output` modules."""

    def __init__(self, inputs: int, config: BertConfig) -> None:
        super().__init__()
        self.dense = nn.Linear(inputs, config.width)
        self.LayerNorm = nn.LayerNorm(config.width, config.norm_eps)

    def forward(self, x: Tensor, before: Tensor) -> Tensor:
        return self.LayerNorm(self.dense(x) + before)


class _Layer(nn.Module):
    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        self.heads = config.heads
        self.attention: Any = nn.Module()
        self.attention.self = nn.Module()
        for name in ("query", "key", "value"):
            self.attention.self.add_module(name, nn.Linear(config.width, config.width))
        self.attention.output = _Dense(config.width, config)
        self.intermediate: Any = nn.Module()
        self.intermediate.dense = nn.Linear(config.width, config.ffn)
        self.output = _Dense(config.ffn, config)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        batch, length, width = x.shape
        inner: Any = self.attention.self
        q, k, v = (
            part(x).view(batch, length, self.heads, width // self.heads).transpose(1, 2)
            for part in (inner.query, inner.key, inner.value)
        )
        scores = torch.matmul(q, k.transpose(2, 3)).float() / math.sqrt(q.shape[-1]) + mask
        mixed = torch.matmul(scores.softmax(dim=-1).to(v.dtype), v)
        x = self.attention.output(mixed.transpose(1, 2).reshape(batch, length, width), x)
        return self.output(functional.gelu(self.intermediate.dense(x)), x)
