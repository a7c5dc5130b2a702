"""What a model's `attention` line means: full, sliding, chunked, sparse, linear and latent layers, in numbers.

Spellings of the catalogue: "GQA", "GQA+sliding(1024) 5 local:1 global", "GQA; 3 of 4 layers chunked (8192), …",
"GQA alternating full/sliding(128)", "mla (kv_lora 512+rope 64)", "… sparse(2048)" (every layer attends to that many
tokens), "GQA; 3 of 4 layers linear (64 heads of 128x128)".
"""

import re
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from weft.core.model import ModelSpec
from weft.cost.arrays import Floats

_WINDOW = re.compile(r"(?:sliding|chunked|sparse)\s*\((\d+)\)")
_LOCAL_GLOBAL = re.compile(r"(\d+) local:(\d+) global")
_SHARE = re.compile(r"(\d+) of (\d+) layers (?:chunked|sliding|linear)")
_LATENT = re.compile(r"kv_lora (\d+)\+rope (\d+)")
_LINEAR = re.compile(r"linear \((\d+) heads of (\d+)x(\d+)\)")


@dataclass(frozen=True, slots=True)
class AttentionPlan:
    """Layers of each kind (their sum is the model's) and their sizes; `latent` is (KV rank, rotary part) or None.

    `state` is the number of elements of one sequence's state in one linear layer.
    """

    full_layers: int
    window_layers: int = 0
    window: int = 0
    linear_layers: int = 0
    state: int = 0
    latent: tuple[int, int] | None = None


def attention_plan(model: ModelSpec) -> AttentionPlan:
    return _plan(model.attention.lower(), model.layers)


@lru_cache(maxsize=256)
def _plan(text: str, layers: int) -> AttentionPlan:
    latent = _LATENT.search(text)
    ranks = (int(latent[1]), int(latent[2])) if latent else None
    linear = _LINEAR.search(text)
    special = round(layers * _special_share(text))
    if linear:
        heads, key, value = (int(part) for part in linear.groups())
        return AttentionPlan(layers - special, linear_layers=special, state=heads * key * value, latent=ranks)
    window = _WINDOW.search(text)
    return AttentionPlan(layers - special, special, int(window[1]) if window else 0, latent=ranks)


def _special_share(text: str) -> float:
    """Share of layers that do not attend to everything."""
    if match := _LOCAL_GLOBAL.search(text):
        return int(match[1]) / (int(match[1]) + int(match[2]))
    if match := _SHARE.search(text):
        return int(match[1]) / int(match[2])
    if "alternating" in text:
        return 0.5
    return 1.0 if _WINDOW.search(text) else 0.0


def pairs_per_prompt(tokens: Floats | float, window: int = 0, cached: Floats | float = 0.0) -> Floats:
    """Query-key pairs of one causal prompt of `tokens` new tokens after `cached` ones, within `window` (0: all)."""
    new, before = np.asarray(tokens, dtype=np.float64), np.asarray(cached, dtype=np.float64)
    if not window:
        return new * (before + (new + 1) / 2)
    growing = np.clip(window - before, 0, new)
    return growing * (before + (growing + 1) / 2) + (new - growing) * window
